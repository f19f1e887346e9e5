"""A rule's module that cannot be imported."""

f = missing  # noqa: F821
