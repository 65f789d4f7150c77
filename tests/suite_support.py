"""A list of attacks of one's own, with a little of everything."""

LIST_OF_ATTACKS = """
attacks:
  - {name: long, attack: pgd, epsilon: 8/255, step_size: 1e-3, steps: 200, restarts: 5}
  - {attack: apgd, loss: dlr, target: least_likely}
  - attack: square
    norm: l2
    steps: 100
    on_survivors: true
  - {attack: jsma, theta: -1}
"""
