"""Networks: what a model is (spec), how it is built, and how a member is stored."""
