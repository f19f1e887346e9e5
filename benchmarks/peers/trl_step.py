"""Times full GRPO steps of TRL's GRPOTrainer on the CPU: sampling, reward, reference log-probabilities, update.

  .bench/trl/bin/python benchmarks/peers/trl_step.py --size small --steps 5 --warmup 1 --threads 2

Every step samples 8 completions for each of 8 prompts from a randomly initialized Qwen2 (float32) and takes one AdamW
step on all 64. The last line of stdout is JSON: wall seconds per step and per part, peak resident memory in MiB, and
the seconds from the start of the script to the start of its second step. Sampling includes tokenization and decoding.

The settings favour speed: loss "grpo" with no bias correction of the KL term, no gradient checkpointing, no mixed
precision, and micro-batches at the larger sizes. `--micro` tries others.
"""

import importlib.metadata
import tempfile

import setting  # first: it starts the clock

MICRO_ROWS = {"small": 64, "mid": 8, "fewshot": 8}  # completions per pass; 64 at fewshot has not been timed


def save_random_model(size: setting.Size, folder: str) -> None:
  """Writes a random Qwen2; the policy and the reference are both read from it."""
  import torch
  import transformers

  torch.manual_seed(0)
  config = transformers.Qwen2Config(
      vocab_size=size.vocab, hidden_size=size.width, intermediate_size=size.ffn, num_hidden_layers=size.layers,
      num_attention_heads=size.heads, num_key_value_heads=size.kv_heads, tie_word_embeddings=True,
      max_position_embeddings=size.prompt + size.completion, rms_norm_eps=setting.NORM_EPSILON,
      rope_parameters={"rope_type": "default", "rope_theta": setting.ROPE_THETA},
      initializer_range=setting.EMBEDDING_STD, bos_token_id=None, eos_token_id=None, pad_token_id=None)
  transformers.Qwen2ForCausalLM(config).save_pretrained(folder)


def make_config(micro: int, total_steps: int, size: setting.Size, folder: str):
  """TRL's settings: one optimizer step per rollout, however many micro-batches it takes."""
  import trl

  return trl.GRPOConfig(
      output_dir=folder, use_cpu=True, bf16=False, fp16=False, gradient_checkpointing=False,
      model_init_kwargs={"dtype": "float32"}, per_device_train_batch_size=micro,
      gradient_accumulation_steps=setting.ROWS // micro, num_generations=setting.COMPLETIONS, num_iterations=1,
      max_completion_length=size.completion, temperature=setting.TEMPERATURE, top_p=1.0, top_k=0,
      beta=setting.BETA, epsilon=setting.EPSILON, loss_type="grpo", use_bias_correction_kl=False,
      optim="adamw_torch_fused", learning_rate=setting.LEARNING_RATE, lr_scheduler_type="constant", weight_decay=0.0,
      max_grad_norm=setting.CLIP_NORM, max_steps=total_steps, shuffle_dataset=False, seed=0, report_to="none",
      logging_strategy="no", save_strategy="no", disable_tqdm=True, dataloader_pin_memory=False)


def make_trainer(size: setting.Size, micro: int, total_steps: int, folder: str):
  """A GRPOTrainer over random weights and random prompts."""
  import datasets
  import trl

  save_random_model(size, folder)
  prompts = datasets.Dataset.from_dict({"prompt": setting.make_prompts(size, total_steps)})
  return trl.GRPOTrainer(
      model=folder, reward_funcs=setting.parity_reward, args=make_config(micro, total_steps, size, folder),
      train_dataset=prompts, processing_class=setting.word_tokenizer(size.vocab))


def step_callback(clock: setting.StepClock):
  """Tells the clock where the trainer's optimizer steps end."""
  import transformers

  class EndOfStep(transformers.TrainerCallback):

    def on_train_begin(self, args, state, control, **_):
      clock.begin()

    def on_step_end(self, args, state, control, **_):
      clock.end_step()

  return EndOfStep()


def check_rollout(batch: dict, size: setting.Size) -> None:
  """Raises unless all rows have their full length and a reference log-probability for every token."""
  full = (setting.ROWS, size.completion)
  setting.require(tuple(batch["prompt_ids"].shape) == (setting.ROWS, size.prompt), "prompt lengths")
  setting.require(bool(batch["prompt_mask"].all()), "padded prompts")
  setting.require(tuple(batch["completion_ids"].shape) == full, "completion lengths")
  setting.require(bool(batch["completion_mask"].all()), "padded completions")
  setting.require(tuple(batch["ref_per_token_logps"].shape) == full, "reference log-probabilities")


def time_parts(trainer, size: setting.Size, clock: setting.StepClock) -> None:
  """Puts the clock around the trainer's own methods."""
  score = trainer._get_per_token_logps_and_entropies
  score_reference = clock.timed("reference", score)
  trainer._generate = clock.timed("sampling", trainer._generate)
  trainer._get_per_token_logps_and_entropies = lambda model, *args, **kwargs: (
      score_reference if model is trainer.ref_model else score)(model, *args, **kwargs)
  trainer._generate_and_score_completions = clock.timed(
      "rollout", trainer._generate_and_score_completions, finish=lambda batch: check_rollout(batch, size))
  trainer.add_callback(step_callback(clock))


def check_updates(trainer, total_steps: int) -> None:
  """Raises unless every step took exactly one AdamW step on every parameter, away from the reference."""
  states = trainer.optimizer.state
  setting.require(trainer.state.global_step == total_steps, "optimizer steps")
  setting.require(all(int(states[p]["step"]) == total_steps for p in trainer.model.parameters()), "AdamW steps")
  embedding, reference = (m.get_input_embeddings().weight for m in (trainer.model, trainer.ref_model))
  setting.require(not embedding.equal(reference), "the weights did not move")


def run(size: setting.Size, arguments, clock: setting.StepClock) -> tuple[str, str]:
  """Trains for the steps asked for; returns the peer's name and version."""
  import torch

  torch.set_num_threads(arguments.threads)
  total_steps = arguments.warmup + arguments.steps
  with tempfile.TemporaryDirectory() as folder:
    trainer = make_trainer(size, arguments.micro or MICRO_ROWS[arguments.size], total_steps, folder)
    time_parts(trainer, size, clock)
    trainer.train()
  check_updates(trainer, total_steps)
  return "trl", importlib.metadata.version("trl")


if __name__ == "__main__":
  setting.run_peer(__doc__, "completions per forward and backward pass (default by size)", run)
