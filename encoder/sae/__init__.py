"""The SAE: loaded from where the user has it, and known by what decides its features.

load.py        a name in SAELens' registry, a repository, a folder or a file -> a LoadedSae
from_registry.py  the first two of these
at_address.py  an SAE at an address, brought into the cache of this machine
known.py       what was found out of an SAE before: its identity, without its weights
footprint.py   is it still the same SAE on disk?
memory.py      how much memory an SAE takes, from its headers
registry_memory.py  the same of an SAE of the registry, from its configuration
loaders/       the layouts of folders and files, one module each
orientation.py is a square weight matrix transposed?
keys.py        the table of the configurations' keys: which are applied, which are irrelevant, which are refused
plain.py       an SAE as SAELens has it, without SAELens
sae.py         LoadedSae: float32 weights, the preprocessing, the rule, and the way back from features to activations
rules.py       which features of a row are active, as numbers for the kernels; architectures register their rule
scale.py       the scale of the values: the SAE's own, or Neuronpedia's
right_hook.py  are the activations from the place in the model that the SAE is for? By the names of both
quality.py     do the activations look like the SAE's own? A sample of rows is rebuilt from its features
"""
