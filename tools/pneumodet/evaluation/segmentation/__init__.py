"""How well U-Nets' masks fit."""
