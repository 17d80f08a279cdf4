"""What every test shares."""

import torch

# Two threads on a busy two-core machine wait for each other more than they compute.
torch.set_num_threads(1)
