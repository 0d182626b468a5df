"""The drawings of the documents, made from the code's own names."""
