"""The made-up vocabulary: labels that read like auto-interp, tokens that look like a tokenizer's, and odd text.

Nothing here is copied from Neuronpedia; only the manner is (many labels begin with a space, many end in a full stop).
"""

import random
from functools import cache
from typing import Final


def _split(text: str) -> tuple[str, ...]:
    return tuple(text.split("|"))


FRAMES: Final = (
    "references to {} and {}",
    " references to {} and {}",
    "terms related to {} and {}",
    " mentions of {}, particularly in {}",
    "phrases that indicate {} in the context of {}",
    " discussions about {} and their impact on {}",
    "elements and keywords of {} within {}",
    " instances of {} followed by {}",
    "words and phrases that concern {} or {}",
    " punctuation around {} and {}",
    "code involving {} and {}",
    "statements about {} in {}.",
)

TOPICS: Final = _split(
    "legal proceedings|statistical analysis|family relationships|numerical values|chemical compounds|"
    "software licenses|dates and times|sports teams|emotional states|religious texts|weather|first-"
    "person pronouns|import statements|medical conditions|data structures|quoted speech|scientific theories|"
    "geographic locations|musical instruments|political parties|financial markets|mathematical operations|"
    "HTML tags|error handling|narrative structure|personal choices|construction materials|public policy|"
    "citizenship|cryptography|marine animals|dogs|cooking|travel plans|historical events|biological processes|"
    "military ranks|conditional clauses|suspicion|technical support|function definitions|scholarly citations|"
    "uncertainty|comparison|negation|visual art|leadership styles|vehicles|memory management|education"
)

ODD_LABELS: Final = (
    "{} \N{GRINNING FACE}\N{WOMAN}\u200d\N{GIRL}",
    "{}\n",
    "{}\n- first\n- second",
    "{}\u2028after a line separator\u2029",
    "<b>{}</b> & <script>alert(1)</script>",
    "{}\x01\x1f\x7f\t",
    "مرحبا {} \u202e 的",
    '"{}" \\ \\u0041 \\n',
)

TYPE_NAMES: Final = ("oai_token-act-pair", "np_max-act-logits", "eleuther_acts_top20", "np_acts-logits-general", None)
MODEL_NAMES: Final = ("gpt-4o-mini", "gemini-2.0-flash", "gpt-3.5-turbo", "claude-3-5-haiku-20241022", None)

_ODD_TOKENS: Final = (
    *("\x07", "\x7f", "\xa0", "\u202e", "\u2028", "\n\n", "\t", "\r\n", " ", "", "的", "▁the", "<bos>", "<eos>"),
    *("\N{FAMILY}", "\N{WOMAN}\u200d\N{GIRL}", "مرحبا", '"', "\\", "\\n", "<script>", "&", "',)", '"}:', "[[", "$1"),
)
_STEMS: Final = _split(
    "overflow|front|chain|find|match|prompt|type|again|expect|situation|floor|differ|key|access|"
    "element|short|filter|extra|motive|block|name|inst|revert|line|process|play|invalid|except|maxim|"
    "clear|arch|delta|tag|explicit|future|light|modify|utility|group|expr|time|new|oblige|grant|"
    "compute|connect|stop|crypto|place|prepend|window|point|universal|execute|math|schema|material|"
    "device|retrieve|context|view|complete|repair|receipt|quote|privacy|symbol|analyze|lower|author|"
    "cautious|open|install|accurate|friend|start|enable|run|long|gate|cond|licensor|terminal|scope|"
    "structure|generate|next|basis|fix|source|client|early|flush|parity|false|restrict|machine|path|"
    "broken"
)
_ENDINGS: Final = ("", "s", "ed", "ing", "er", "ly", "able", "ation", "ness")


@cache
def token_stream(odd: bool) -> tuple[str, ...]:
    """Return a long fixed random sequence of tokens: any slice of it is somebody's top tokens."""
    regular = [
        lead + case(stem + ending)
        for lead, case in ((" ", str), ("", str), ("", str.capitalize), ("", str.upper))
        for stem in _STEMS
        for ending in _ENDINGS
    ]
    draw = random.Random("tokens")
    stream = draw.choices(regular, k=1 << 14)
    if odd:
        for at in draw.sample(range(len(stream)), len(stream) // 24):
            stream[at] = draw.choice(_ODD_TOKENS)
    return tuple(stream)
