"""The demo: the whole product on one machine, without internet, with the features of a real transformer.

`python -m demo`, or `make demo`, plays these steps in one folder, which is made anew each time:

    labels          download 16,384 labels in GemmaScope's shape, interrupt the download, resume it, search
    texts           choose 96 texts from books that packages carry
    hidden_states   let a small transformer, which a package carries too, read them
    captures        write its hidden states to disk as a researcher captures activations
    encoding        put the captures on a queue, start two workers, kill one of them; index the features
    looking         print which features fire on some words, and what their labels say

`stage` prints the titles and the commands, runs them, and ends the demo when a promise is broken. Stand-ins on loopback
serve the labels and the SAE.

The SAE and its labels are in `demo/files`; `published` describes them. `python -m demo.make_sae` made them: it trains
the SAE on the hidden states of other texts, `study` finds the contexts in which each feature fires, and `naming` makes
a label of them.
"""
