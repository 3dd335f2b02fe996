"""The library, in layers: a module imports only from layers below its own (docs/architecture.md)."""
