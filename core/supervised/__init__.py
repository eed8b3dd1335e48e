"""The parts of most papers: data order, training, evaluation."""
