"""Figures of presentation attack detection, by the names of ISO/IEC 30107-3."""
