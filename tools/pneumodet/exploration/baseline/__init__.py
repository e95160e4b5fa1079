"""What metadata alone say of pneumonia: the figure that every model has to beat."""
