"""The answers' types: what each view returns, and what a page may read. A test holds the real answers against them.

Lists of numbers are numpy arrays in Python and lists in JSON. A number that is NaN in Python is null in JSON, so
whatever may be unknown is typed with None. In the pages these types go by the same names.

    state.py        Summary, Health
    documents.py    DocumentList, DocumentTokens, DocumentFeatures, Lanes, Row
    features.py     Feature, TopContexts, FeatureDocuments, Together, FeatureList, Comparison
    groups.py       GroupList, ContrastPlot
    words.py        WordOccurrences, WordFeatures
    base.py         what they share
"""
