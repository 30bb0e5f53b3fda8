"""What the three commands, and their functions in Python, share where they meet a person. It knows nothing of SAEs.

program.py      a command from its start to its exit status: errors, signals, help, closed pipes
settings.py     flags over environment over TOML over built-in values
progress.py     the one progress display      board.py: its figures      bars.py: in a terminal and in a notebook
output.py       JSON on stdout, lines on stderr, and text of other people made safe to print
"""
