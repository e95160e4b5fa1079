"""What metadata alone tell of pneumonia: the figure that every model has to beat."""
