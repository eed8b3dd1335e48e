"""What most papers do: train networks on examples under equal conditions, and measure them.

A trial says what is trained (`tasks`), on which examples, and under which constraint; `Comparison` does the rest for
every arm. Everything here is written for one replicate and knows no paper.
"""
