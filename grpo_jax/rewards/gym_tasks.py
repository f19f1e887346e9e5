"""Which of reasoning-gym's tasks are for training; found by audit (tests/rewards/gym_audit.py) of version 0.1.25.

Each task was tried in its default config on 8 entries: the gold answer, the question, the answers of other entries, all
of them in one text, constants, and nonsense. A task is offered where gold always got full marks, and nothing else did.
"""

# The most that a wrong answer got from the scorer. The rule counts full marks only, so this is what it keeps out.
OFFERED = {
  "ab": 0.0, "acre": 0.5, "advanced_geometry": 0.05, "aiw": 0.334, "arc_1d": 0.052, "arc_agi": 0.05,
  "base_conversion": 0.5, "basic_arithmetic": 0.75, "bf": 0.0, "binary_alternation": 0.334, "bitwise_arithmetic": 0.0,
  "caesar_cipher": 0.0, "calendar_arithmetic": 0.506, "chain_sum": 0.334, "circuit_logic": 0.0, "codeio": 0.01,
  "color_cube_rotation": 0.01, "count_bits": 0.026, "count_primes": 0.334, "course_schedule": 0.013,
  "cryptarithm": 0.01, "decimal_arithmetic": 0.0, "decimal_chain_sum": 0.0, "dice": 0.0, "emoji_mystery": 0.01,
  "family_relationships": 0.0, "figlet_font": 0.2, "fraction_simplification": 0.05, "futoshiki": 0.166,
  "game_of_life": 0.99, "gcd": 0.5, "group_anagrams": 0.01, "isomorphic_strings": 0.013, "jugs": 0.01,
  "kakurasu": 0.0, "knights_knaves": 0.65, "largest_island": 0.5, "lcm": 0.5, "leg_counting": 0.0,
  "letter_counting": 0.5, "letter_jumble": 0.091, "list_functions": 0.023, "mahjong_puzzle": 0.003,
  "manipulate_matrix": 0.0, "maze": 0.334, "mini_sudoku": 0.507, "modulo_grid": 0.0, "needle_haystack": 0.0,
  "number_filtering": 0.0, "number_format": 0.0, "number_sequence": 0.667, "number_sorting": 0.0,
  "palindrome_generation": 0.05, "palindrome_partitioning": 0.0, "path_star": 0.0, "pool_matrix": 0.0,
  "power_function": 0.01, "prime_factorization": 0.01, "products": 0.0, "quantum_lock": 0.0, "ransom_note": 0.018,
  "rearc": 0.05, "rectangle_count": 0.64, "rotate_matrix": 0.481, "rotten_oranges": 0.002, "self_reference": 0.0,
  "sentence_reordering": 0.05, "shortest_path": 0.0, "simple_equations": 0.069, "simple_geometry": 0.667,
  "spell_backward": 0.334, "string_manipulation": 0.019, "string_splitting": 0.0, "string_synthesis": 0.0,
  "sudoku": 0.189, "survo": 0.0, "syllogism": 0.5, "time_intervals": 0.978, "tower_of_hanoi": 0.05, "tsumego": 0.05,
  "word_ladder": 0.0, "word_sequence_reversal": 0.0, "word_sorting": 0.167, "zebra_puzzles": 0.0,
}  # fmt: skip

RAISING = frozenset({"game_of_life", "prime_factorization"})  # offered; raises on nonsense, which the rule scores 0

_CODE = "its scorer runs the answer as Python code"
_SLOW = "making one of its entries can take longer than any deadline"
_NO_GOLD = "its entries hold no gold answer to check the scorer with"
REFUSED = {
  "binary_matrix": _CODE,
  "boxnet": _NO_GOLD,
  "coin_flip": "its scorer gives full marks to constants, and hangs on 1e999999999",
  "complex_arithmetic": "its scorer gives full marks to nan",
  "countdown": f"{_CODE}; use the rule countdown",
  "game_of_life_halting": "its scorer takes any text for True",
  "graph_color": _NO_GOLD,
  "gsm_symbolic": "its scorer reads the first number of any text, such as the question's own",
  "intermediate_integration": _CODE,
  "knight_swap": _SLOW,
  "n_queens": _CODE,
  "polynomial_equations": "its scorer gives full marks to any text where there is no real root",
  "polynomial_multiplication": _CODE,
  "propositional_logic": _NO_GOLD,
  "puzzle24": _CODE,
  "rubiks_cube": _NO_GOLD,
  "rush_hour": _NO_GOLD,
  "simple_integration": _CODE,
  "sokoban": _SLOW,
  "spiral_matrix": _CODE,
  "string_insertion": _CODE,
}
