"""The SAE: loaded from where the user has it, and known by what decides its features.

load.py     a name in SAELens' registry, a folder or a file -> a LoadedSae
sae.py      LoadedSae: SAELens' module with float32 weights, its preprocessing, its rule, and the way back from
            features to activations
rules.py    which features of a row are active, as numbers for the kernels; architectures register their rule
quality.py  do these activations look like the SAE's own? A sample of rows is rebuilt from its features
"""
