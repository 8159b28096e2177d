"""Benchmarks. Each is a command that prints a table from one run and names the machine.

pip install -r benchmarks/requirements.txt    # the peers; those that are missing are left out
python -m benchmarks.post_step                # one training step of the post's model: Keras 3, PyTorch
python -m benchmarks.flagship_step            # the flagship's step and its time to each score: PyTorch
python -m benchmarks.reading                  # reading MIDI: mido, pretty_midi, symusic
python -m benchmarks.startup                  # from the start of a command to its help, its first epoch, its samples
python -m benchmarks.memory                   # the peak of the main job, stage by stage
python -m benchmarks.scale                    # shards of 1,000, 10,000 and 100,000 pieces

docs/performance.md has the figures and what follows from them.
"""
