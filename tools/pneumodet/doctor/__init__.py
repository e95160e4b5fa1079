"""What is installed, what works, and for each error the command that fixes it.

The standard library alone is imported by these modules, since this is what runs where something else is missing. TensorFlow and the Object
Detection API are tried in another process (``probe``): a crash is reported instead of ending the report.
"""
