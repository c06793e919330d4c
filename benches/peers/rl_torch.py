"""PyTorch on 2D navigation: times the work of `innerloop train nav2d-plain` (W8) and `nav2d-maml`.

All tasks of the meta-batch run together in batched products. An iteration samples, adapts, samples again, and takes
the exact meta-gradient through the inner step; then Adam (`--outer plain`) or TRPO (`--outer trpo`) with conjugate
gradients on exact products with the KL divergence's Hessian.

    python rl_torch.py --tasks 20 --threads 2 --outer plain
"""

import argparse
import json
import statistics
import time

import torch

EPISODES, HORIZON, RATE, DISCOUNT = 20, 100, 0.5, 0.99
SHAPES = [(2, 100), (100,), (100, 100), (100,), (100, 2), (2,), (2,)]


def initial() -> list[torch.Tensor]:
    torch.manual_seed(1)
    make = lambda s: torch.nn.init.xavier_uniform_(torch.empty(s)) if len(s) == 2 else torch.zeros(s)
    return [make(s).requires_grad_() for s in SHAPES]


def distribution(params: list[torch.Tensor], states: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean `[tasks, n, 2]` and log standard deviation `[tasks, 1, 2]`; parameters have a leading task axis."""
    w1, b1, w2, b2, w3, b3, log_std = params
    h = torch.relu(torch.baddbmm(b1.unsqueeze(1), states, w1))
    h = torch.relu(torch.baddbmm(b2.unsqueeze(1), h, w2))
    return torch.baddbmm(b3.unsqueeze(1), h, w3), log_std.unsqueeze(1)


def log_density(dist: tuple[torch.Tensor, torch.Tensor], actions: torch.Tensor) -> torch.Tensor:
    mean, log_std = dist
    z = (actions - mean) * (-log_std).exp()
    return -(0.5 * z * z + log_std).sum(-1) - 1.8378770664093453


@torch.no_grad()
def sample(params: list[torch.Tensor], goals: torch.Tensor) -> dict[str, torch.Tensor]:
    tasks = len(goals)
    at = torch.zeros(tasks, EPISODES, 2)
    live = torch.ones(tasks, EPISODES)
    rows: list[tuple[torch.Tensor, ...]] = []
    for _ in range(HORIZON):
        mean, log_std = distribution(params, at)
        action = mean + log_std.exp() * torch.randn_like(mean)
        moved = at + (0.1 * action).clamp(-0.1, 0.1)
        off = moved - goals[:, None]
        rows.append((at, action, mean, -off.norm(dim=-1) * live, live))
        live = live * (1 - (off.abs() < 0.01).all(-1).float())
        at = moved
    states, actions, means, rewards, alive = (torch.stack(column, 2) for column in zip(*rows))
    flat = lambda x: x.reshape(tasks, EPISODES * HORIZON, *x.shape[3:])
    return {
        "states": flat(states), "actions": flat(actions), "advantages": flat(advantages(states, rewards, alive)),
        "weights": flat(alive) / alive.sum((1, 2), keepdim=True).flatten(1), "mean": flat(means),
        "log_std": params[-1].detach().unsqueeze(1), "returns": rewards.sum(2).mean(1),
    }


def advantages(states: torch.Tensor, rewards: torch.Tensor, alive: torch.Tensor) -> torch.Tensor:
    """Return minus a linear baseline, standardised within each task."""
    returns = torch.zeros_like(rewards)
    total = torch.zeros_like(rewards[:, :, 0])
    for t in reversed(range(HORIZON)):
        total = rewards[:, :, t] + DISCOUNT * total
        returns[:, :, t] = total
    time_ = (torch.arange(HORIZON) / 100).expand_as(rewards)
    powers = torch.stack([time_, time_**2, time_**3, torch.ones_like(time_)], -1)
    x = (torch.cat([states, states**2, powers], -1) * alive[..., None]).flatten(1, 2).double()
    gram = x.transpose(1, 2) @ x + 1e-5 * torch.eye(8, dtype=torch.float64)
    weights = torch.linalg.solve(gram, x.transpose(1, 2) @ returns.flatten(1)[..., None].double())
    advantage = returns - (x @ weights)[..., 0].float().view_as(returns)
    n = alive.sum((1, 2), keepdim=True)
    centred = (advantage - (advantage * alive).sum((1, 2), keepdim=True) / n) * alive
    return centred / ((centred**2).sum((1, 2), keepdim=True) / n).sqrt().add(1e-8)


def adapt(theta: list[torch.Tensor], batch: dict[str, torch.Tensor], create_graph: bool) -> list[torch.Tensor]:
    tasks = len(batch["states"])
    phi = [p.unsqueeze(0).expand(tasks, *p.shape) for p in theta]
    density = log_density(distribution(phi, batch["states"]), batch["actions"])
    loss = -(density * batch["advantages"] * batch["weights"]).sum()
    grads = torch.autograd.grad(loss, phi, create_graph=create_graph)
    return [p - RATE * g for p, g in zip(phi, grads)]


def objective(phi: list[torch.Tensor], batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Surrogate loss and mean KL divergence, averaged over tasks."""
    mean, log_std = distribution(phi, batch["states"])
    old = (batch["mean"], batch["log_std"])
    ratio = (log_density((mean, log_std), batch["actions"]) - log_density(old, batch["actions"])).exp()
    tasks = len(mean)
    surrogate = -(ratio * batch["advantages"] * batch["weights"]).sum() / tasks
    off, scale = (old[0] - mean) * (-log_std).exp(), old[1] - log_std
    divergence = (0.5 * (off * off + (2 * scale).exp() - 1) - scale).sum(-1)
    return surrogate, (divergence * batch["weights"]).sum() / tasks


def flat(values: list[torch.Tensor]) -> torch.Tensor:
    return torch.cat([value.reshape(-1) for value in values])


def trpo(theta: list[torch.Tensor], support: dict, query: dict) -> None:
    surrogate, divergence = objective(adapt(theta, support, True), query)
    gradient = flat(torch.autograd.grad(surrogate, theta, retain_graph=True))
    slope = flat(torch.autograd.grad(divergence, theta, create_graph=True))

    def product(v: torch.Tensor) -> torch.Tensor:
        return flat(torch.autograd.grad(slope @ v, theta, retain_graph=True)) + 1e-5 * v

    x, residual = torch.zeros_like(gradient), gradient.clone()
    direction, square = residual.clone(), residual @ residual
    for _ in range(10):
        image = product(direction)
        length = square / (direction @ image)
        x, residual = x + length * direction, residual - length * image
        square, before = residual @ residual, square
        direction = residual + square / before * direction
    whole = (0.02 / (x @ (gradient - residual))).sqrt()
    start = flat(theta).detach()
    for j in range(15):
        place(theta, start - 0.8**j * whole * x)
        with torch.enable_grad():
            phi = adapt(theta, support, False)
        with torch.no_grad():
            loss, moved = objective(phi, query)
        if loss < surrogate and moved <= 0.01:
            return
    place(theta, start)


@torch.no_grad()
def place(theta: list[torch.Tensor], values: torch.Tensor) -> None:
    for p, value in zip(theta, values.split([p.numel() for p in theta])):
        p.copy_(value.view_as(p))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--tasks", type=int, default=20)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--outer", choices=["plain", "trpo"], default="plain")
    parser.add_argument("--repetitions", type=int, default=10)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    theta = initial()
    adam = torch.optim.Adam(theta, lr=0.01)
    seconds, returns = [], []
    for _ in range(arguments.repetitions + 2):
        start = time.perf_counter()
        goals = torch.rand(arguments.tasks, 2) - 0.5
        support = sample([p.unsqueeze(0).expand(arguments.tasks, *p.shape) for p in theta], goals)
        query = sample([p.detach() for p in adapt(theta, support, False)], goals)
        if arguments.outer == "trpo":
            trpo(theta, support, query)
        else:
            surrogate, _ = objective(adapt(theta, support, True), query)
            adam.zero_grad()
            surrogate.backward()
            adam.step()
        seconds.append(time.perf_counter() - start)
        returns.append([batch["returns"].mean().item() for batch in (support, query)])
    timed = seconds[2:]
    print(json.dumps({
        "library": "torch", "outer": arguments.outer, "tasks": arguments.tasks, "threads": arguments.threads,
        "median_s": statistics.median(timed), "min_s": min(timed), "returns": returns[-1],
    }))


if __name__ == "__main__":
    main()
