"""How the demo's starting checkpoint is made: invented names, a stream of sentences, training."""
