"""What is proved: dual repair, certificates, and the checker. No solver and no modelling language is imported."""
