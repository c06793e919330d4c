"""Records rollouts of Gymnasium's HalfCheetah-v5 and Ant-v5, for innerloop to replay.

    pip install mujoco==3.17.0 gymnasium==1.4.0 safetensors
    python make_rollout.py golden/

writes half_cheetah.safetensors and ant.safetensors, in float64, with E episodes of T steps:

    qpos, qvel     [E, ...]         the state each episode starts in
    actions        [E, T, ...]      as drawn, some out of bounds; clipped before each step
    observations   [E, T + 1, ...]
    rewards        [E, T, 3]        as in Finn et al. 2017, for three targets: backward, forward, a speed of 1.5
    terminated     [E, T]           1 if the state reached is terminal; the rollout continues regardless

Velocities, control costs and contact costs are Gymnasium's; those for direction, speed and survival are the paper's.
"""

import argparse
from pathlib import Path

import gymnasium
import mujoco
import numpy as np
from safetensors.numpy import save_file

ROBOTS = {
    "half_cheetah": ("HalfCheetah-v5", {"ctrl_cost_weight": 0.05}, 0.0),
    "ant": ("Ant-v5", {"ctrl_cost_weight": 0.005, "contact_cost_weight": 5e-4}, 0.05),
}
SPEED = 1.5
EPISODES = 2


def rollout(env, seed, steps, survival):
    observation, _ = env.reset(seed=seed)
    arrays = {
        "qpos": env.data.qpos.copy(),
        "qvel": env.data.qvel.copy(),
        "observations": [observation],
        "actions": [],
        "rewards": [],
        "terminated": [],
    }
    rng = np.random.default_rng(seed)
    # The second episode takes larger actions, so that Ant falls over.
    reach = 1.2 if seed % 2 else 3.0
    for _ in range(steps):
        action = rng.uniform(-reach, reach, env.action_space.shape)
        observation, _, terminated, _, info = env.step(np.clip(action, -1.0, 1.0))
        velocity, costs = info["x_velocity"], info["reward_ctrl"] + info.get("reward_contact", 0.0)
        run = [-velocity, velocity, float(survival > 0) - abs(velocity - SPEED)]
        arrays["observations"].append(observation)
        arrays["actions"].append(action)
        arrays["rewards"].append([r + costs + survival for r in run])
        arrays["terminated"].append(float(terminated))
    return {name: np.asarray(value, dtype=np.float64) for name, value in arrays.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--steps", type=int, default=60)
    options = parser.parse_args()
    for name, (env_id, costs, survival) in ROBOTS.items():
        env = gymnasium.make(env_id, **costs).unwrapped
        episodes = [rollout(env, 1 + i, options.steps, survival) for i in range(EPISODES)]
        arrays = {key: np.stack([episode[key] for episode in episodes]) for key in episodes[0]}
        versions = {
            "environment": env_id,
            "gymnasium": gymnasium.__version__,
            "mujoco": mujoco.__version__,
            "speed": str(SPEED),
        }
        path = options.folder / f"{name}.safetensors"
        save_file(arrays, path, metadata=versions)
        print(path, {key: value.shape for key, value in arrays.items()}, "ends", arrays["terminated"].sum(axis=1))


if __name__ == "__main__":
    main()
