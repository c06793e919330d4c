"""JAX on 2D navigation: times the work of `innerloop train nav2d-plain` (W8) and `nav2d-maml`.

One jitted function per iteration: rollouts by `lax.scan`, tasks by `vmap`, the exact meta-gradient through the inner
step; then Adam (`--outer plain`) or TRPO (`--outer trpo`) with conjugate gradients on forward-over-reverse products
with the KL divergence's Hessian. The line search runs outside the jitted function, because it stops early.

    python rl_jax.py --tasks 20 --outer plain
"""

import argparse
import json
import statistics
import time
from functools import partial

import jax
import jax.numpy as jnp

EPISODES, HORIZON, RATE, DISCOUNT = 20, 100, 0.5, 0.99
SHAPES = [(2, 100), (100,), (100, 100), (100,), (100, 2), (2,), (2,)]
Params = list[jax.Array]


def initial() -> Params:
    keys = jax.random.split(jax.random.key(1), len(SHAPES))
    xavier = jax.nn.initializers.glorot_uniform()
    return [xavier(k, s) if len(s) == 2 else jnp.zeros(s) for k, s in zip(keys, SHAPES)]


def mean_action(params: Params, states: jax.Array) -> jax.Array:
    w1, b1, w2, b2, w3, b3, _ = params
    return jax.nn.relu(jax.nn.relu(states @ w1 + b1) @ w2 + b2) @ w3 + b3


def log_density(mean: jax.Array, log_std: jax.Array, actions: jax.Array) -> jax.Array:
    z = (actions - mean) * jnp.exp(-log_std)
    return -(0.5 * z * z + log_std).sum(-1) - 1.8378770664093453


def sample(params: Params, goal: jax.Array, key: jax.Array) -> dict[str, jax.Array]:
    def step(carry: tuple, noise: jax.Array) -> tuple:
        at, live = carry
        mean = mean_action(params, at)
        action = mean + jnp.exp(params[-1]) * noise
        moved = at + jnp.clip(0.1 * action, -0.1, 0.1)
        off = moved - goal
        reward = -jnp.sqrt((off * off).sum(-1)) * live
        arrived = (jnp.abs(off) < 0.01).all(-1)
        return (moved, live * (1 - arrived)), (at, action, mean, reward, live)

    noise = jax.random.normal(key, (HORIZON, EPISODES, 2))
    start = (jnp.zeros((EPISODES, 2)), jnp.ones(EPISODES))
    _, (states, actions, means, rewards, alive) = jax.lax.scan(step, start, noise)
    flat = lambda x: x.reshape(HORIZON * EPISODES, *x.shape[2:])
    weights = alive / alive.sum()
    return {
        "states": flat(states), "actions": flat(actions), "mean": flat(means), "log_std": params[-1],
        "advantages": flat(advantages(states, rewards, alive)), "weights": flat(weights),
        "return": rewards.sum(0).mean(),
    }


def advantages(states: jax.Array, rewards: jax.Array, alive: jax.Array) -> jax.Array:
    add = lambda total, reward: (reward + DISCOUNT * total,) * 2
    _, returns = jax.lax.scan(add, jnp.zeros(EPISODES), rewards, reverse=True)
    time_ = jnp.broadcast_to(jnp.arange(HORIZON)[:, None] / 100, rewards.shape)
    powers = jnp.stack([time_, time_**2, time_**3, jnp.ones_like(time_)], -1)
    x = (jnp.concatenate([states, states**2, powers], -1) * alive[..., None]).reshape(-1, 8)
    weights = jnp.linalg.solve(x.T @ x + 1e-5 * jnp.eye(8), x.T @ returns.reshape(-1))
    advantage = (returns - (x @ weights).reshape(rewards.shape)) * alive
    n = alive.sum()
    centred = (advantage - advantage.sum() / n) * alive
    return centred / (jnp.sqrt((centred**2).sum() / n) + 1e-8)


def adapt(theta: Params, batch: dict[str, jax.Array]) -> Params:
    def loss(params: Params) -> jax.Array:
        density = log_density(mean_action(params, batch["states"]), params[-1], batch["actions"])
        return -(density * batch["advantages"] * batch["weights"]).sum()

    return [p - RATE * g for p, g in zip(theta, jax.grad(loss)(theta))]


def objectives(theta: Params, support: dict, query: dict) -> tuple[jax.Array, jax.Array]:
    """Surrogate loss and mean KL divergence of the adapted policies."""

    def one(support: dict, query: dict) -> tuple[jax.Array, jax.Array]:
        phi = adapt(theta, support)
        mean, log_std = mean_action(phi, query["states"]), phi[-1]
        old = log_density(query["mean"], query["log_std"], query["actions"])
        ratio = jnp.exp(log_density(mean, log_std, query["actions"]) - old)
        off, scale = (query["mean"] - mean) * jnp.exp(-log_std), query["log_std"] - log_std
        divergence = (0.5 * (off * off + jnp.exp(2 * scale) - 1) - scale).sum(-1)
        surrogate = -(ratio * query["advantages"] * query["weights"]).sum()
        return surrogate, (divergence * query["weights"]).sum()

    surrogates, divergences = jax.vmap(one)(support, query)
    return surrogates.mean(), divergences.mean()


def gather(theta: Params, key: jax.Array, tasks: int) -> tuple[dict, dict]:
    keys = jax.random.split(key, 3)
    goals = jax.random.uniform(keys[0], (tasks, 2), minval=-0.5, maxval=0.5)

    def one(goal: jax.Array, before: jax.Array, after: jax.Array) -> tuple[dict, dict]:
        support = sample(theta, goal, before)
        return support, sample(adapt(theta, support), goal, after)

    return jax.vmap(one)(goals, jax.random.split(keys[1], tasks), jax.random.split(keys[2], tasks))


@partial(jax.jit, static_argnums=(3,))
def plain(theta: Params, moments: tuple, key: jax.Array, tasks: int) -> tuple:
    support, query = gather(theta, key, tasks)
    grads = jax.grad(lambda t: objectives(t, support, query)[0])(theta)
    first, second, t = moments
    t = t + 1
    first = [0.9 * m + 0.1 * g for m, g in zip(first, grads)]
    second = [0.999 * v + 0.001 * g * g for v, g in zip(second, grads)]
    rate = 0.01 * jnp.sqrt(1 - 0.999**t) / (1 - 0.9**t)
    theta = [p - rate * m / (jnp.sqrt(v) + 1e-8) for p, m, v in zip(theta, first, second)]
    return theta, (first, second, t), query["return"].mean()


@partial(jax.jit, static_argnums=(2,))
def direction(theta: Params, key: jax.Array, tasks: int) -> tuple:
    support, query = gather(theta, key, tasks)
    loss, gradient = jax.value_and_grad(lambda t: objectives(t, support, query)[0])(theta)
    slope = jax.grad(lambda t: objectives(t, support, query)[1])
    product = lambda v: [h + 1e-5 * x for h, x in zip(jax.jvp(slope, (theta,), (v,))[1], v)]
    dot = lambda a, b: sum(jnp.vdot(x, y) for x, y in zip(a, b))

    def step(_: int, carry: tuple) -> tuple:
        x, residual, way, square = carry
        image = product(way)
        length = square / dot(way, image)
        x = [a + length * b for a, b in zip(x, way)]
        residual = [a - length * b for a, b in zip(residual, image)]
        next_ = dot(residual, residual)
        return x, residual, [r + next_ / square * w for r, w in zip(residual, way)], next_

    zeros = [jnp.zeros_like(p) for p in theta]
    x, residual, _, _ = jax.lax.fori_loop(0, 10, step, (zeros, gradient, gradient, dot(gradient, gradient)))
    whole = jnp.sqrt(0.02 / dot(x, [g - r for g, r in zip(gradient, residual)]))
    return loss, [whole * a for a in x], support, query, query["return"].mean()


def trpo(theta: Params, key: jax.Array, tasks: int, evaluate: object) -> tuple[Params, jax.Array]:
    loss, x, support, query, returns = direction(theta, key, tasks)
    for j in range(15):
        moved = [p - 0.8**j * a for p, a in zip(theta, x)]
        new, divergence = evaluate(moved, support, query)
        if new < loss and divergence <= 0.01:
            return moved, returns
    return theta, returns


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--tasks", type=int, default=20)
    parser.add_argument("--outer", choices=["plain", "trpo"], default="plain")
    parser.add_argument("--repetitions", type=int, default=10)
    arguments = parser.parse_args()
    theta = initial()
    zeros = [jnp.zeros_like(p) for p in theta]
    moments = (zeros, zeros, jnp.zeros(()))
    evaluate = jax.jit(objectives)
    seconds = []
    for i in range(arguments.repetitions + 2):
        start = time.perf_counter()
        key = jax.random.key(i)
        if arguments.outer == "trpo":
            theta, returns = trpo(theta, key, arguments.tasks, evaluate)
        else:
            theta, moments, returns = plain(theta, moments, key, arguments.tasks)
        returns = float(returns)
        jax.block_until_ready(theta)
        seconds.append(time.perf_counter() - start)
    timed = seconds[2:]
    print(json.dumps({
        "library": "jax", "outer": arguments.outer, "tasks": arguments.tasks,
        "median_s": statistics.median(timed), "min_s": min(timed), "returns": returns,
    }))


if __name__ == "__main__":
    main()
