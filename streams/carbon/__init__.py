"""From joules to grams and litres: which factor is in force, how it is stored, and what a corrected one changes."""
