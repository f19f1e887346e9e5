"""Times full GRPO steps of Tunix's GRPOLearner on the CPU: sampling, reward, reference log-probabilities, update.

  .bench/tunix/bin/python benchmarks/peers/tunix_step.py --size small --steps 5 --warmup 2 --threads 2

Every step samples 8 completions for each of 8 prompts from a randomly initialized Qwen2 (float32) and takes one AdamW
step on all 64. The last line of stdout is JSON: wall seconds per step and per part, peak resident memory in MiB, and
the seconds from the start of the script to the start of its second step. Sampling includes tokenization and decoding.

The settings favour speed: the low-variance KL estimator in the loss, a cache of exactly prompt +
completion positions, all rows sampled at once, one prompt per micro-batch, and a fresh seed for every rollout
(otherwise each repeats the last one's random numbers).
"""

import importlib.metadata
import itertools
import os

import setting  # first: it starts the clock

MICRO_PROMPTS = 1  # prompts per forward and backward pass, and per pass of the reference


def make_model(size: setting.Size, mesh):
  """A random Qwen2; called twice, it gives the policy and an equal reference."""
  import jax
  from flax import nnx
  from tunix.models.qwen2 import model as qwen2

  config = qwen2.ModelConfig(
      num_layers=size.layers, vocab_size=size.vocab, embed_dim=size.width, hidden_dim=size.ffn, num_heads=size.heads,
      head_dim=size.width // size.heads, num_kv_heads=size.kv_heads, rope_theta=int(setting.ROPE_THETA),
      norm_eps=setting.NORM_EPSILON, use_tied_embedding=True)
  with jax.set_mesh(mesh):
    model = qwen2.Qwen2(config, rngs=nnx.Rngs(params=0))
    embedding = model.embedder.input_embedding
    embedding[...] = embedding[...] * setting.EMBEDDING_STD  # Tunix draws it with a deviation of 1
  return model


def make_cluster(size: setting.Size, micro: int, total_steps: int):
  """Policy, reference, sampler and optimizer on one device, with Tunix's settings."""
  import jax
  import optax
  from tunix.rl import rl_cluster
  from tunix.rl.rollout import base_rollout

  mesh = jax.make_mesh((1, 1), ("fsdp", "tp"), axis_types=(jax.sharding.AxisType.Auto,) * 2)
  roles = (rl_cluster.Role.ACTOR, rl_cluster.Role.REFERENCE, rl_cluster.Role.ROLLOUT)
  optimizer = optax.chain(
      optax.clip_by_global_norm(setting.CLIP_NORM), optax.adamw(setting.LEARNING_RATE, weight_decay=0.0))
  training = rl_cluster.RLTrainingConfig(
      actor_optimizer=optimizer, eval_every_n_steps=total_steps + 1, max_steps=total_steps,
      mini_batch_size=setting.PROMPTS, train_micro_batch_size=micro, compute_logps_micro_batch_size=micro,
      rollout_micro_batch_size=setting.PROMPTS)
  rollout = base_rollout.RolloutConfig(
      max_tokens_to_generate=size.completion, max_prompt_length=size.prompt,
      kv_cache_size=size.prompt + size.completion, temperature=setting.TEMPERATURE, top_p=1.0, top_k=None)
  return rl_cluster.RLCluster(
      actor=make_model(size, mesh), reference=make_model(size, mesh), tokenizer=setting.word_tokenizer(size.vocab),
      cluster_config=rl_cluster.ClusterConfig(
          role_to_mesh={role: mesh for role in roles}, rollout_engine="vanilla", offload_to_cpu=False,
          training_config=training, rollout_config=rollout))


def make_learner(cluster):
  """GRPO with the reference in the loss."""
  from tunix.rl.grpo import grpo_learner

  config = grpo_learner.GRPOConfig(
      num_generations=setting.COMPLETIONS, num_iterations=1, beta=setting.BETA, epsilon=setting.EPSILON,
      kl_loss_mode="low_var_kl", loss_agg_mode="sequence-mean-token-mean")
  return grpo_learner.GRPOLearner(rl_cluster=cluster, algo_config=config, reward_fns=setting.parity_reward)


def seed_each_rollout(cluster) -> None:
  """Gives every call of the sampler a seed of its own; Tunix would use the configured one each time."""
  import jax

  generate, seeds = cluster.generate, itertools.count(1)

  def generate_with_seed(*args, **kwargs):
    cluster.cluster_config.rollout_config.seed = jax.random.PRNGKey(next(seeds))
    return generate(*args, **kwargs)

  cluster.generate = generate_with_seed


def check_rollout(example, size: setting.Size) -> None:
  """Raises unless all rows have their full length and a reference log-probability for every token."""
  full = (setting.ROWS, size.completion)
  setting.require(example.prompt_mask.shape == (setting.ROWS, size.prompt), "prompt lengths")
  setting.require(bool(example.prompt_mask.all()), "padded prompts")
  setting.require(example.completion_mask.shape == full, "completion lengths")
  setting.require(bool(example.completion_mask.all()), "padded completions")
  setting.require(example.ref_per_token_logps.shape == full, "reference log-probabilities")


def time_parts(learner, size: setting.Size, clock: setting.StepClock) -> None:
  """Puts the clock around the learner's own methods; each part ends when its arrays are ready."""
  import jax
  from flax import nnx

  cluster, run_step = learner.rl_cluster, learner._run_global_step
  seed_each_rollout(cluster)
  cluster.generate = clock.timed("sampling", cluster.generate)
  cluster.get_ref_per_token_logps = clock.timed(
      "reference", cluster.get_ref_per_token_logps, finish=jax.block_until_ready)
  learner._generate_and_compute_advantage = clock.timed(
      "rollout", learner._generate_and_compute_advantage, finish=lambda example: check_rollout(example, size))

  def run_timed_step(*args, **kwargs):
    run_step(*args, **kwargs)
    jax.block_until_ready(nnx.state(cluster.actor_trainer.model))
    clock.end_step()

  learner._run_global_step = run_timed_step


def embedding_of(model):
  """The embedding table of a model."""
  return model.embedder.input_embedding[...]


def check_updates(learner, total_steps: int) -> None:
  """Raises unless every step updated the policy once, and the sampler reads the updated weights."""
  cluster = learner.rl_cluster
  trainer = cluster.actor_trainer
  setting.require(trainer.train_steps == total_steps, "optimizer steps")
  setting.require(int(trainer.optimizer.opt_state.gradient_step[...]) == total_steps, "AdamW steps")
  policy = embedding_of(trainer.model)
  setting.require(bool((policy != embedding_of(cluster.inference_worker.get_model("reference"))).any()),
                  "the weights did not move")
  setting.require(bool((policy == embedding_of(cluster.rollout.model())).all()), "the sampler's weights are stale")


def run(size: setting.Size, arguments, clock: setting.StepClock) -> tuple[str, str]:
  """Trains for the steps asked for; returns the peer's name and version."""
  os.environ["JAX_PLATFORMS"] = "cpu"
  total_steps = arguments.warmup + arguments.steps
  learner = make_learner(make_cluster(size, arguments.micro or MICRO_PROMPTS, total_steps))
  time_parts(learner, size, clock)
  prompts = setting.make_prompts(size, total_steps)
  clock.begin()
  learner.train([{"prompts": prompts[i:i + setting.PROMPTS]} for i in range(0, len(prompts), setting.PROMPTS)])
  check_updates(learner, total_steps)
  return "tunix", importlib.metadata.version("google-tunix")


if __name__ == "__main__":
  setting.run_peer(__doc__, f"prompts per forward and backward pass (default {MICRO_PROMPTS})", run)
