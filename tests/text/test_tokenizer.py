"""Round trips, stop ids, and texts that cannot be spelled."""

import json

import pytest

from grpo_jax.text.tokenizer import DIGITS_AND_SIGNS, character_tokenizer, load_tokenizer, wrap_tokenizer


def test_characters_by_hand():
  tokenizer = character_tokenizer("ab\n")
  assert tokenizer.encode("ba\n") == [4, 3, 5]
  assert tokenizer.decode([1, 4, 3, 5, 2, 0]) == "ba\n"
  assert (tokenizer.vocab_size, tokenizer.pad_id, tokenizer.stop_ids) == (6, 0, (2,))


def test_round_trip_and_no_added_tokens():
  tokenizer = character_tokenizer()
  assert tokenizer.decode(tokenizer.encode(DIGITS_AND_SIGNS)) == DIGITS_AND_SIGNS
  assert tokenizer.encode("") == []
  assert len(tokenizer.encode_prompt("1+2=")) == 4
  assert character_tokenizer(add_bos=True).encode_prompt("1+2=")[0] == 1
  assert len(character_tokenizer(add_bos=True).encode("1+2=")) == 4


def test_unknown_character_is_named():
  with pytest.raises(ValueError, match=r"text '1×2=' has '×', must use"):
    character_tokenizer().encode_prompt("1×2=")


def test_unknown_token_is_named_where_the_vocabulary_has_one():
  tokenizer = character_tokenizer("ab?")
  tokenizer.backend.unk_token = "?"
  with pytest.raises(ValueError, match=r"has '?'"):
    tokenizer.encode("ab?")


def test_empty_prompt_and_missing_template():
  tokenizer = character_tokenizer()
  with pytest.raises(ValueError, match="prompt='' must have at least one token"):
    tokenizer.encode_prompt("")
  with pytest.raises(ValueError, match="must have a chat template"):
    tokenizer.encode_prompt(({"role": "user", "content": "1"},))


def test_chat_prompt():
  tokenizer = character_tokenizer("ua:12+=\n", add_bos=True)
  tokenizer.backend.chat_template = (
    "{{ bos_token }}{% for m in messages %}{{ m.role[0] }}:{{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}a:{% endif %}"
  )
  ids = tokenizer.encode_prompt(({"role": "user", "content": "1+1="},))
  assert ids[0] == 1 and ids.count(1) == 1  # one bos: the template's
  assert tokenizer.decode(ids) == "u:1+1=\na:"


def test_stop_strings():
  backend = character_tokenizer("ab\n").backend
  tokenizer = wrap_tokenizer(backend, stop=("\n",), stop_ids=(4,))
  assert tokenizer.stop_ids == (2, 4, 5)
  assert tokenizer.encode_completion("a\n") == [3, 5]  # ends in a stop already
  assert character_tokenizer("ab\n", stop=("b",)).stop_ids == (2, 4)
  assert wrap_tokenizer(backend).encode_completion("a\n") == [3, 5, 2]
  with pytest.raises(ValueError, match=r"stop='ab' must be one token, is 2 \(\[3, 4\]\)"):
    wrap_tokenizer(backend, stop=("ab",))
  with pytest.raises(ValueError, match="stop='x' must be one token, is 0"):
    wrap_tokenizer(backend, stop=("x",))


def test_save_and_load(tmp_path):
  character_tokenizer().backend.save_pretrained(tmp_path)
  (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": [2, 7]}))
  tokenizer = load_tokenizer(str(tmp_path), stop=("]",))
  ids = tokenizer.encode("[236]632")
  assert ids == character_tokenizer().encode("[236]632") and tokenizer.decode(ids) == "[236]632"
  assert tokenizer.stop_ids == tuple(sorted({2, 7, *tokenizer.encode("]")}))
  with pytest.raises(ValueError, match=r"must be a directory with tokenizer.json"):
    load_tokenizer(str(tmp_path / "nowhere"))


def test_add_bos_needs_one():
  backend = character_tokenizer().backend
  backend.bos_token = None
  with pytest.raises(ValueError, match="add_bos=True needs a tokenizer with a bos token"):
    wrap_tokenizer(backend, add_bos=True)
