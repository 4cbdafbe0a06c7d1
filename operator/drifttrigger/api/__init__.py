"""Values that every room may use: the resource types, the reasons and the errors."""
