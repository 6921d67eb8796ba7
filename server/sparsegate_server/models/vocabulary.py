"""A checkpoint's tokenizer as tokenizer.json: its own file, or one made from older vocabularies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.decoders import WordPiece as WordPieceDecoder
from tokenizers.models import BPE, WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer, ByteLevel
from tokenizers.processors import RobertaProcessing, TemplateProcessing

from sparsegate_server.errors import ModelSourceError
from sparsegate_server.models.jsonfile import read_object, read_optional
from sparsegate_server.models.spec import TOKENIZER_FILE

WORDPIECES_FILE = "vocab.txt"
BPE_VOCABULARY_FILE = "vocab.json"
MERGES_FILE = "merges.txt"
TOKENIZER_CONFIG_FILE = "tokenizer_config.json"
SPECIAL_TOKENS_FILE = "special_tokens_map.json"
ADDED_TOKENS_FILE = "added_tokens.json"

_WANTED = (
    f"{TOKENIZER_FILE}, {WORDPIECES_FILE} (wordpieces), or {BPE_VOCABULARY_FILE} with "
    f"{MERGES_FILE} (byte-level BPE)"
)
_WORDPIECE_CLASSES = ("BertTokenizer", "DistilBertTokenizer")
_BPE_CLASSES = ("RobertaTokenizer",)
_LONGEST_WORD = 100
"""Characters of a word; longer ones are unknown to every BERT."""
_BERT_SPECIALS = {
    "unk_token": "[UNK]",
    "sep_token": "[SEP]",
    "pad_token": "[PAD]",
    "cls_token": "[CLS]",
    "mask_token": "[MASK]",
}
_ROBERTA_SPECIALS = {
    "cls_token": "<s>",
    "pad_token": "<pad>",
    "sep_token": "</s>",
    "unk_token": "<unk>",
    "mask_token": "<mask>",
}


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """A tokenizer and what a model needs to know of it.

    Attributes:
        content: the bytes of tokenizer.json.
        tokens: each token's id.
        special_ids: of the tokens that stand for no text ([CLS], <pad>, …), ascending.
    """

    content: bytes
    tokens: Mapping[str, int]
    special_ids: tuple[int, ...]

    @property
    def size(self) -> int:
        """One more than the greatest id."""
        return max(self.tokens.values(), default=-1) + 1

    @classmethod
    def parse(cls, content: bytes, where: Path) -> Vocabulary:
        """Raises ModelSourceError when the bytes are no tokenizer.json."""
        try:
            tokenizer = Tokenizer.from_buffer(content)
        # The Rust library raises no narrower type.
        except Exception as error:
            raise ModelSourceError(f"{where} is no tokenizer that can be read: {error}") from error
        added = tokenizer.get_added_tokens_decoder()
        special = tuple(sorted(id for id, token in added.items() if token.special))
        return cls(content, tokenizer.get_vocab(), special)


def has_tokenizer(folder: Path) -> bool:
    return any((folder / name).is_file() for name in (TOKENIZER_FILE, WORDPIECES_FILE)) or all(
        (folder / name).is_file() for name in (BPE_VOCABULARY_FILE, MERGES_FILE)
    )


def check_tokenizer(folders: tuple[Path, ...]) -> Path:
    """The first of the folders with a tokenizer; raises ModelSourceError where none has one."""
    for folder in folders:
        if has_tokenizer(folder):
            return folder
    raise ModelSourceError(
        f"{folders[0]} has no tokenizer: a model needs {_WANTED}. Of other kinds, transformers "
        f"writes {TOKENIZER_FILE}: AutoTokenizer.from_pretrained(…).save_pretrained(…)"
    )


def read_vocabulary(folder: Path) -> Vocabulary:
    """A folder's tokenizer. Its own tokenizer.json is taken byte for byte; one that is made is the
    same bytes whenever it is made of the same files.

    Raises:
        ModelSourceError: there is none, or it is of a kind that is not known here.
    """
    check_tokenizer((folder,))
    own = folder / TOKENIZER_FILE
    if own.is_file():
        return Vocabulary.parse(own.read_bytes(), own)
    config = read_optional(folder / SPECIAL_TOKENS_FILE) | read_optional(
        folder / TOKENIZER_CONFIG_FILE
    )
    try:
        made = _wordpieces if (folder / WORDPIECES_FILE).is_file() else _byte_pairs
        content = made(folder, config).to_str(pretty=False).encode()
    except ModelSourceError:
        raise
    # The Rust library raises no narrower type.
    except Exception as error:
        raise ModelSourceError(f"{folder} has no tokenizer that can be read: {error}") from error
    return Vocabulary.parse(content, folder)


def _wordpieces(folder: Path, config: Mapping[str, Any]) -> Tokenizer:
    """BERT's tokenizer, cased or not, of one language or many."""
    _check_class(folder, config, _WORDPIECE_CLASSES)
    if config.get("do_basic_tokenize", True) is not True:
        raise ModelSourceError(f"{folder / TOKENIZER_CONFIG_FILE}: do_basic_tokenize is off")
    names = _special_names(config, _BERT_SPECIALS)
    lines = _read_text(folder / WORDPIECES_FILE).removesuffix("\n").split("\n")
    tokens = {line.removesuffix("\r"): id for id, line in enumerate(lines)}
    tokenizer = Tokenizer(
        WordPiece(tokens, unk_token=names["unk_token"], max_input_chars_per_word=_LONGEST_WORD)
    )
    tokenizer.normalizer = BertNormalizer(
        clean_text=True,
        handle_chinese_chars=config.get("tokenize_chinese_chars", True),
        strip_accents=config.get("strip_accents"),
        lowercase=config.get("do_lower_case", True),
    )
    tokenizer.pre_tokenizer = BertPreTokenizer()
    tokenizer.decoder = WordPieceDecoder(prefix="##")
    _add_tokens(tokenizer, folder, config, names)
    cls, sep = names["cls_token"], names["sep_token"]
    tokenizer.post_processor = TemplateProcessing(
        single=f"{cls}:0 $A:0 {sep}:0",
        pair=f"{cls}:0 $A:0 {sep}:0 $B:1 {sep}:1",
        special_tokens=[(name, _id(tokenizer, name, folder)) for name in (cls, sep)],
    )
    return tokenizer


def _byte_pairs(folder: Path, config: Mapping[str, Any]) -> Tokenizer:
    """RoBERTa's tokenizer: BPE over bytes, `<s> … </s>` around a text."""
    _check_class(folder, config, _BPE_CLASSES)
    names = _special_names(config, _ROBERTA_SPECIALS)
    lines = _read_text(folder / MERGES_FILE).split("\n")
    pairs = [line.split(" ") for line in lines if line and not line.startswith("#version")]
    if any(len(pair) != 2 for pair in pairs):
        raise ModelSourceError(f"{folder / MERGES_FILE} has a line that is no pair of tokens")
    merges = [(first, second.removesuffix("\r")) for first, second in pairs]
    prefix_space = config.get("add_prefix_space", False)
    tokenizer = Tokenizer(
        BPE(
            read_object(folder / BPE_VOCABULARY_FILE),
            merges,
            continuing_subword_prefix="",
            end_of_word_suffix="",
        )
    )
    tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=prefix_space)
    tokenizer.decoder = ByteLevelDecoder()
    _add_tokens(tokenizer, folder, config, names)
    cls, sep = names["cls_token"], names["sep_token"]
    tokenizer.post_processor = RobertaProcessing(
        (sep, _id(tokenizer, sep, folder)),
        (cls, _id(tokenizer, cls, folder)),
        trim_offsets=config.get("trim_offsets", True),
        add_prefix_space=prefix_space,
    )
    return tokenizer


def _check_class(folder: Path, config: Mapping[str, Any], known: tuple[str, ...]) -> None:
    name = config.get("tokenizer_class")
    if name is not None and str(name).removesuffix("Fast") not in known:
        raise ModelSourceError(
            f"{folder / TOKENIZER_CONFIG_FILE}: tokenizer_class {name!r} cannot be made from a "
            f"vocabulary here, only {', '.join(known)}: save it as {TOKENIZER_FILE}"
        )


def _special_names(config: Mapping[str, Any], defaults: Mapping[str, str]) -> dict[str, str]:
    """What the special tokens are called here; they are written as strings or as objects."""
    names = {}
    for role, default in defaults.items():
        value = config.get(role, default)
        names[role] = str(value["content"] if isinstance(value, dict) else value)
    return names


def _add_tokens(
    tokenizer: Tokenizer, folder: Path, config: Mapping[str, Any], names: Mapping[str, str]
) -> None:
    """Marks the special tokens, and adds those that were added to the vocabulary, by their ids."""
    for role in names:
        name = names[role]
        # The mask takes the space before it, as RoBERTa's own tokenizer has it.
        before = role == "mask_token" and isinstance(tokenizer.model, BPE)
        token = AddedToken(name, lstrip=before, normalized=False, special=True)
        if tokenizer.token_to_id(name) is not None:
            tokenizer.add_special_tokens([token])
    for name, (id, special) in sorted(_added(folder, config).items(), key=lambda item: item[1]):
        if tokenizer.token_to_id(name) is None:
            token = AddedToken(name, normalized=not special, special=special)
            (tokenizer.add_special_tokens if special else tokenizer.add_tokens)([token])
        if tokenizer.token_to_id(name) != id:
            raise ModelSourceError(
                f"{folder}: the added token {name!r} should have id {id}, and gets "
                f"{tokenizer.token_to_id(name)}: save the tokenizer as {TOKENIZER_FILE}"
            )


def _added(folder: Path, config: Mapping[str, Any]) -> dict[str, tuple[int, bool]]:
    """Id of each token that is not of the vocabulary file, and whether it stands for no text."""
    added = {n: (int(id), False) for n, id in read_optional(folder / ADDED_TOKENS_FILE).items()}
    for id, token in config.get("added_tokens_decoder", {}).items():
        added[str(token["content"])] = (int(id), bool(token.get("special")))
    return added


def _id(tokenizer: Tokenizer, name: str, folder: Path) -> int:
    id = tokenizer.token_to_id(name)
    if id is None:
        raise ModelSourceError(f"{folder}: the special token {name!r} is not in the vocabulary")
    return int(id)


def _read_text(file: Path) -> str:
    try:
        # Lines end with \n alone: other ends of lines may be tokens.
        return file.read_bytes().decode()
    except (OSError, ValueError) as error:
        raise ModelSourceError(f"{file} cannot be read: {error}") from error
