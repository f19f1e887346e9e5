"""Every key of a run, with its default and its unit or options. Config files change fields of this; none is hidden."""

from ml_collections import ConfigDict, config_dict

placeholder = config_dict.placeholder


def default_config() -> ConfigDict:
  """The whole schema, locked: a misspelt key in a file or on the command line is an error."""
  c = ConfigDict()
  c.name = "run"  # names the default workdir
  c.task = "rl"  # eval | sft | [sft_then_]rl | [sft_then_]dpo | [sft_then_]reward_model; SFT starts the other stage
  c.seed = 0  # integer; parameters, data order and samples are functions of it
  c.model = _model()
  c.lora = ConfigDict({
    "rank": 0,  # of the adapters that are trained in place of the model; 0 trains the model itself
    "alpha": 16.0,  # the adapters' part is scaled by alpha / rank
    "targets": ("q", "k", "v", "o", "gate", "up", "down"),  # regular expressions; q_proj and the like work too
    "base_dtype": "float32",  # float32 | bfloat16; of the frozen model below the adapters
  })
  c.tokenizer = _tokenizer()
  c.data = ConfigDict()  # a source: {"kind": …, options}; docs/data.md has the kinds
  c.data_seed = 0  # integer; order of the data, apart from `seed` so that arms can share prompts
  c.contamination = "refuse"  # held-out problems that are training problems too: refuse | warn | off (unchecked)
  c.curriculum = ConfigDict({  # low 0 and high 1 are off; RL only
    "low": 0.0,  # problems whose running pass rate is below are passed over
    "high": 1.0,  # and those above
    "momentum": 0.5,  # of the running pass rate, per rollout of the problem
    "revisit": 0.1,  # share of the problems outside the band that are drawn all the same
    "skips": 1000,  # most problems passed over in a row
  })
  c.prompt_buckets = (64,)  # tokens; one or two lengths prompts are padded to
  c.completion_buckets = (64,)  # tokens; one or two; the largest is where completions are cut
  c.rewards = _rewards()
  c.algorithm = _algorithm()
  c.sampling = ConfigDict({
    "group_size": 8,  # completions per prompt (G)
    "group_sizes": (),  # compiled sizes of a dynamic group, increasing, e.g. (4, 8); empty is always group_size
    "group_signal": 0.9,  # share of groups that should have signal: a dynamic group is the least that reaches it
    "temperature": 1.0,  # > 0; of sampling and of every log-probability
    "slots": 0,  # completions decoded at once, on all devices together: memory and pace only; 0 is all
  })
  c.train = _train()
  c.optimizer = _optimizer(1e-6)
  c.critic_optimizer = _optimizer(1e-5)  # of the critic, for algorithm rows that have one
  c.sft = ConfigDict({
    "steps": 0,  # optimizer updates of the supervised stage
    "batch": 64,  # worked solutions per update
    "micro_batch": 0,  # solutions per microbatch: memory only; 0 is all
  })
  c.preference = ConfigDict({
    "steps": 0,  # optimizer updates of the DPO or reward-model stage, with `optimizer`
    "batch": 32,  # pairs per update
    "micro_batch": 0,  # pairs per microbatch: memory only; 0 is all
    "loss": "sigmoid",  # of DPO: sigmoid | ipo | hinge
    "beta": 0.1,  # of DPO, per nat
    "label_smoothing": 0.0,  # of the sigmoid loss; share of pairs thought to be mislabelled, below 0.5
  })
  c.sft_optimizer = _optimizer(1e-3)
  c.evaluate = _evaluate()
  c.checkpoint = ConfigDict({
    "every": 50,  # iterations (SFT: steps) between checkpoints; the last one is always saved
    "keep": 2,  # newest checkpoints kept; the best by held-out greedy accuracy is kept too
    "export": False,  # write the final policy as a Hugging Face directory, workdir/…/export
    "start_anew": False,  # begin at 0 where all checkpoints are lost or damaged; the stage's folder is kept aside
    "accept_changes": False,  # go on with other contents of data, model or reward files, or a schedule's end moved
  })
  c.log = ConfigDict({
    "every": 1,  # iterations (SFT: steps) between lines of metrics.jsonl
    "samples": 1,  # completions printed at each evaluation
    "rollouts": 0,  # iterations between rollouts kept to look into and replay; 0 keeps none, as files grow with B G T
    "tensorboard": True,  # write event files
    "wandb_project": "",  # Weights & Biases project; empty is off (needs the wandb package)
  })
  c.doctor = _doctor()
  c.distributed = ConfigDict({
    "deadline_seconds": 600.0,  # most that a step of many processes may take before all of them exit; 0 is off
  })
  c.mesh = ConfigDict({
    "data": -1,  # devices along the batch; -1 takes what is left
    "fsdp": 1,  # devices over which parameters and the batch are split
    "tensor": 1,  # devices over which heads and feed-forward width are split
    "sequence": 1,  # devices over which the tokens of a completion are split
    "sampler": "same",  # same | gathered: whole along fsdp and in compute_dtype, so that decoding gathers nothing
  })
  return c.lock()


def _train() -> ConfigDict:
  return ConfigDict({
    "iterations": 100,  # rollouts
    "prompts": 8,  # prompts per rollout (B)
    "minibatch_prompts": 0,  # prompts per optimizer update; 0 is all of the rollout
    "update_epochs": 1,  # passes over each rollout
    "micro_prompts": 0,  # prompts per microbatch: memory only; 0 is all
    "micro_members": 0,  # completions of each prompt per microbatch: memory only; 0 is all
    "logit_chunk": 0,  # tokens per chunk of logits: memory only; 0 chooses
    "token_budgets": placeholder(tuple),  # shares of padded tokens that are compiled for; None: (0.3, 0.6) from T 64 on
    "value_clip": 0.2,  # farthest a value may move from its old one in an update, in units of reward
    "fused_iterations": 0,  # iterations per dispatch (K) where rewards are on the device too; 0 is one from the host
    "resample_attempts": 0,  # most rollouts per iteration to find groups with signal (DAPO); 0 takes the first as it is
    "reference_dtype": "float32",  # float32 | bfloat16; of the reference's parameters
    "max_skips": 20,  # refused updates in a row, or iterations without any signal in all, that fail a run; 0: never
    "refresh_reference_every": 0,  # iterations between copies of the policy into the reference; 0 is never
  })


def _doctor() -> ConfigDict:
  return ConfigDict({  # limits, above or below which a run is said to be unwell (runs/doctor.py)
    "strict": False,  # stop at the first finding; also --strict
    "window": 5,  # log lines that means are over
    "truncated": 0.2,  # share of completions that met no stop token
    "no_signal": 0.8,  # share of groups whose rewards are all alike
    "solved": 0.9,  # mean of the component from which on groups without signal and low entropy are no finding
    "kl": 1.0,  # nats per token
    "entropy": 0.1,  # share of the entropy of the first lines
    "sampler_gap": 0.02,  # mean |behaviour - trainer| log-probability, nats
    "errors": 0.01,  # share of failed scores
    "stall": 10.0,  # times the median of the window
    "stall_seconds": 30.0,  # and at least so long
  })


def _model() -> ConfigDict:
  return ConfigDict({
    "path": "",  # Hugging Face directory, .gguf file, "smollm2-135m", "gemma3-270m"; empty: from scratch, these sizes:
    "shape": "",  # a name of models/shapes.py: sizes of a published model, in place of the eight that follow
    "num_layers": 4,  # L
    "width": 256,  # D
    "ffn_width": 1024,  # F
    "num_heads": 8,  # H
    "num_kv_heads": 2,  # K, divides H
    "head_width": 32,  # E, even
    "qk_norm": False,  # per-head RMS norm of queries and keys (Qwen3)
    "attention_bias": False,  # biases on q, k, v (Qwen2)
    "compute_dtype": "float32",  # float32 | bfloat16; master weights are float32
    "remat": False,  # recompute each layer in the backward pass
    "attention": "auto",  # of groups: xla | splash (TPU) | cudnn (GPU, bfloat16); auto is splash on TPUs, else xla
    "scan_layers": placeholder(bool),  # None: scan, but unroll up to 8 layers on CPU, where that is faster
  })


def _tokenizer() -> ConfigDict:
  return ConfigDict({
    "path": "",  # Hugging Face directory; empty is the model's own, or characters when the model is from scratch
    "alphabet": "0123456789+-*/=()[].,<> ",  # of the character tokenizer
    "add_bos": placeholder(bool),  # begin plain prompts with the bos token; None: where the tokenizer itself does
    "special_in_text": False,  # special tokens spelled in data, such as <|im_end|>, act; False: ordinary text
    "stop": (),  # extra stop strings, each one token
  })


def _rewards() -> ConfigDict:
  c = ConfigDict({
    "workers": 2,  # processes for rules that need one
    "deadline_seconds": 5.0,  # per completion; a worker past it is killed and the failure recorded
    "max_error_rate": 0.05,  # fraction of failed scores at which the run stops with the offending text
    "step_ends": "",  # characters that end a reasoning step, for process supervision
    "self_test": 64,  # training examples whose gold answers must score 1 and wrong ones 0 at start; 0 is off
  })
  c.components = ConfigDict()  # name: {"rule": …, "weight": …, "options": {…}} (see rewards/rules.py)
  return c


def _algorithm() -> ConfigDict:
  return ConfigDict({
    "preset": "grpo",  # a row of algorithms/spec.py PRESETS; a key below that is not None replaces that cell
    "advantage": placeholder(str),  # a name of algorithms/table.py ADVANTAGES
    "ddof": placeholder(int),  # 1 sample standard deviation | 0 population
    "ratio": placeholder(str),  # token | sequence | sequence_token | none
    "surrogate": placeholder(str),  # a name of algorithms/table.py SURROGATES
    "kl": placeholder(str),  # off | k1 (in the reward) | k2 | k3 | abs | ratio_k3 | exact
    "kl_place": placeholder(str),  # loss | reward
    "beta_control": placeholder(str),  # fixed | adaptive
    "reduction": placeholder(str),  # sequence_mean | token_mean | sequence_sum | constant
    "truncated": placeholder(str),  # completions that met no stop token: keep | mask | penalize
    "sampler_correction": placeholder(str),  # off | token_truncate | token_mask | sequence_truncate | sequence_mask
    "pair_loss": placeholder(str),  # off | sigmoid | ipo | hinge: best against worst of each group
    "shuffle_advantages": placeholder(bool),  # control run: advantages permuted within each group
    "pass_k": placeholder(int),  # k of advantage=pass_at_k, 2 … group_size
    "beta": placeholder(float),  # weight of the KL term, per nat
    "epsilon_low": placeholder(float),  # clip below 1 - epsilon_low
    "epsilon_high": placeholder(float),  # clip above 1 + epsilon_high
    "advantage_epsilon": placeholder(float),  # added to the group's standard deviation
    "reduction_divisor": placeholder(float),  # tokens, for reduction=constant; None is the longest completion
    "kl_target": placeholder(float),  # nats per token that beta_control=adaptive aims at
    "kl_horizon": placeholder(float),  # updates over which beta moves by at most a fifth
    "dual_clip": placeholder(float),  # > 1; bound of surrogate=dual_clipped
    "ratio_cap": placeholder(float),  # largest ratio of surrogate=capped and cispo
    "tau_positive": placeholder(float),  # temperature of surrogate=sapo for A > 0
    "tau_negative": placeholder(float),  # and for A < 0
    "cov_fraction": placeholder(float),  # of tokens that clip_cov and kl_cov treat apart
    "cov_low": placeholder(float),  # band of covariances that clip_cov picks from
    "cov_high": placeholder(float),  # its upper end
    "cov_beta": placeholder(float),  # penalty of kl_cov, per nat
    "sampler_low": placeholder(float),  # bounds of the sampler correction's weights
    "sampler_high": placeholder(float),  # their upper end
    "gamma": placeholder(float),  # discount per token, of advantage=gae
    "gae_lambda": placeholder(float),  # 0 is one-step TD, 1 Monte Carlo
    "mix": placeholder(float),  # sequence-level share of advantage=multi_scale
    "spread_floor": placeholder(float),  # of the batch's standard deviation, for advantage=group_floored
    "truncation_penalty": placeholder(float),  # subtracted from the reward, for truncated=penalize
    "length_penalty": placeholder(float),  # times length / longest times the group's pass rate
    "pair_beta": placeholder(float),  # of the pair loss, per nat
    "pair_weight": placeholder(float),  # of the pair loss in the loss
  })


def _optimizer(learning_rate: float) -> ConfigDict:
  return ConfigDict({
    "schedule": "constant",  # constant | cosine | linear, after the warm-up
    "learning_rate": learning_rate,  # peak
    "warmup_steps": 0,  # updates
    "final_fraction": 0.0,  # of the peak, where cosine and linear end
    "b1": 0.9,  # decay of the first moment
    "b2": 0.999,  # decay of the second moment
    "epsilon": 1e-8,  # Adam's
    "weight_decay": 0.0,  # of matrices, per unit of learning rate
    "clip_norm": 1.0,  # largest global gradient norm
  })


def _evaluate() -> ConfigDict:
  return ConfigDict({
    "every": 20,  # iterations between evaluations; 0 only at the start and the end of RL
    "problems": 512,  # most held-out problems; all of them where there are fewer
    "batch": 64,  # problems at a time
    "samples": 8,  # completions per problem for the pass rate and pass@k; 0 is greedy only
    "temperature": 1.0,  # of those samples
    "top_k": 0,  # 0 is off
    "top_p": 1.0,  # 1 is off
    "min_p": 0.0,  # 0 is off
    "verifier": "",  # a second component (weight 0: not trained on) whose disagreement is an alarm; empty is none
    "verifier_gap": 0.1,  # greedy accuracy by `component` less that by `verifier`, above which the alarm is raised
    "benchmarks": (),  # of task=eval: names of evaluation/benchmarks.py; empty is the held-out part of `data`
    "component": "correct",  # the reward component that says whether a completion is right (>= 1)
  })
