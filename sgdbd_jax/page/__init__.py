"""A page for a browser: photos in, masks out; served on this machine, or written as files for any web host."""
