"""Features and labels of one SAE, side by side: for programs, and for eyes.

This room stands above `file/` and `index/`, as it reads both.

joined.py     LabelledFeatures, which a program asks
found.py      the labels of the features' SAE among all that were downloaded
same.py       refused unless both are of one SAE
density.py    do the features fire as often as on Neuronpedia? A figure that chooses among layers
active.py     which features fire on a row, each with its label
views.py      a document, a row, a feature as a page: what `LabelledFeatures.show` returns
contexts.py   what these pages show of the features: documents, texts, a feature's strongest rows
markup.py     the parts of a page's HTML, everything escaped
page.py       Page: displayed by a notebook, or saved as a file; style.css is its style
"""

from encoder.labelled.active import Active
from encoder.labelled.joined import LabelledFeatures
from encoder.labelled.page import Page
from encoder.labelled.same import check_same_sae

__all__ = ["Active", "LabelledFeatures", "Page", "check_same_sae"]
