"""What the alarms say of networks that hide their gradients.

  python benchmarks/masked.py --run_dir=RUN [--num_examples=200]

The network of a run, behind a rounding of its input to five grey levels, and with logits times 10,000: neither is more
robust than the network itself, both withstand PGD. Judged under FGSM, PGD, AutoAttack's APGD-CE and Square, and images
made on the bare network.
"""

import argparse
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import tensorflow as tf

from tla_tf import reporting
from tla_tf.attack_configs import TransferConfig
from tla_tf.attacks import GradientAttack, attack_survivors
from tla_tf.evaluation import Judge, evaluate_with, probe, raise_alarms, suite
from tla_tf.evaluation.subject import run_subject
from tla_tf.persistence import RunFolder


def main():
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--run_dir", required=True)
  parser.add_argument("--num_examples", type=int, default=200)
  options = parser.parse_args()
  subject = run_subject(RunFolder.open(options.run_dir))
  network, test = subject.network, subject.test.take(slice(options.num_examples))
  table1 = {attack.name: attack for attack in suite("table1", subject.dataset, black_box=True)}
  chosen = [attack for name, attack in table1.items() if name.startswith(("FGSM", "PGD", "BB"))]
  chosen += [
    attack._replace(on_survivors=False, suite="table1")
    for attack in suite("auto_attack", subject.dataset)
    if attack.name in ("APGD-CE", "Square")
  ]
  black_box = next(attack.config for attack in chosen if isinstance(attack.config, TransferConfig))
  made = attack_survivors(GradientAttack(network, black_box.attack), test.float_images(), test.labels).adversarial
  networks = {
    "bare": network,
    "quantised input": lambda images: network(tf.round(images * 4.0) / 4.0, training=False)["logits"],
    "saturated logits": lambda images: network(images, training=False)["logits"] * 1e4,
  }
  rows, alarms = [], {}
  for name, masked in networks.items():
    judge = Judge(masked, test, keep=0, transfers={black_box: made})
    outcome = evaluate_with(judge, chosen)
    probes = probe(judge, chosen[0].config.norm, chosen[0].config.epsilon)
    shares = (outcome.clean, *outcome.attacks, outcome.worst_case)
    rows.append((name, *(f"{share.accuracy:.2%}" for share in shares)))
    alarms[name] = [alarm.code for alarm in raise_alarms(outcome.attacks, outcome.fell, outcome.right, probes)]
  header = ("Model", "Clean", *(attack.name for attack in chosen), "Worst case")
  print(reporting.markdown_table(reporting.Table("Accuracy", header, tuple(rows))))
  for name, codes in alarms.items():
    print(f"{name}: {', '.join(codes) or 'no alarm'}")


if __name__ == "__main__":
  main()
