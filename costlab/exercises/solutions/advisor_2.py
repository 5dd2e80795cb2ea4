"""Write `break_even_reads(kept, warm, cold, retrieval)`: how many gigabytes a month may be read
until a cold tier costs as much as a warm one, for `kept` gigabytes. `warm` and `cold` are dollars
for a gigabyte and a month, and the cold tier charges `retrieval` dollars for each gigabyte read.

Why: the cold tier saves the difference of the prices on everything that is kept, and gives it back
read by read.
"""


def break_even_reads(kept: float, warm: float, cold: float, retrieval: float) -> float:
    """Gigabytes read a month."""
    saved = kept * (warm - cold)
    return saved / retrieval


answer = break_even_reads
