"""Networks, one a file; torch is imported when one is fitted or asked, not before."""
