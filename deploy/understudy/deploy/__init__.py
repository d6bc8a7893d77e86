"""How the parts are started together: the composition root, the one-machine supervisor and the migrations."""
