"""How sure a figure is: the error of the energy model, of the meter and of sampling, and how errors add up."""
