"""Reading folders of labelled images: which file shows which class, and which are kept out to measure accuracy.

Names only, no image is opened: so a folder, an archive and the file names of a form are read alike, by the command line
as by the service.
"""
