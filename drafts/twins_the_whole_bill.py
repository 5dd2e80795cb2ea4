"""Twins of the claims of notebook 18: what they would be given if something were broken."""


def unchanged() -> float:
    """A ratio of two figures that are one and the same: the step did nothing."""
    return 1.0


TWINS = {
    # a cache that is never read
    "The naive loop takes more than twice as long as the competent one": unchanged,
    "Batching pays, with all other steps off and with all of them on": unchanged,
    "Lossless steps alone make the service cost less than three quarters": unchanged,
}
