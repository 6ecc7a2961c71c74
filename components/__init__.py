"""The rooms of the system; `docs/design.md` says which may import which."""
