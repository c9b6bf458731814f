"""What stands in a library's machine code: its instructions, its hot loops, what must not be there.

The text of `objdump -dw` is read, for x86-64 and aarch64. Loops are natural loops (Aho, Lam, Sethi,
Ullman, Compilers, 9.6.6): a branch back to a block that dominates it, and all blocks that reach the
branch without passing that head; wherever the compiler has put them. An innermost loop holds no
other. It is hot if it multiplies and adds at least HOT times, and in a good part of its vector
instructions: the loops over tiles, and polynomials.

What a hot loop has on the stack at constant offsets, the registers could not hold. If the loop also
writes there, or makes an address of it, that is a spill. What it only reads is a reload: a constant
or a stride, which costs no more than one kept in memory. References with an index register are to
arrays; a loop that multiplies and adds into one has its sums in memory, not in registers.

Which encodings belong to which ISA: Intel SDM volume 2, 2.3 (VEX) and 2.7 (EVEX); Arm ARM C4.1,
where bits 28:25 of a word are 0b0010 for SVE.
"""

import os
import re
import shutil
import subprocess
from collections import namedtuple
from fnmatch import fnmatch

HOT = 6
HOT_SHARE = 0.2    # a tile whose every sum is loaded and stored still has 1/4
# Whose loops count, KERNEL/FUNCTION: where the time goes. (Of naive and blocked, which leave their
# vectors to the compiler, only what is named.)
JUDGED = ("blocked/multiply*,flash*/multiply*,select/multiply*,flash/update_softmax*,"
          "flash/cap_scores*,decode/dots*,decode/values*")
PLAIN = ("naive", "blocked")
OBJDUMPS = ("objdump", "aarch64-linux-gnu-objdump", "x86_64-linux-gnu-objdump")

Instruction = namedtuple("Instruction", "address code name operands target")   # target of a branch
Function = namedtuple("Function", "word name instructions")   # word: flash of portable/flash.c
Loop = namedtuple("Loop", "function body")
Library = namedtuple("Library", "isa machine functions")
Tally = namedtuple("Tally", "fma vector share loads spills reloads calls")


class NoTool(Exception):
    """No program here can read this machine's code; the message says which is missing."""


# ---- reading ---------------------------------------------------------------------------------

def tool_for(path):
    """The objdump that knows the machine of this library."""
    for tool in filter(shutil.which, OBJDUMPS):
        header = subprocess.run([tool, "-f", path], capture_output=True, text=True, check=False)
        if header.returncode == 0 and re.search(r"architecture: (?!UNKNOWN)", header.stdout):
            return tool
    raise NoTool(f"no objdump here reads {path} (looked for {', '.join(OBJDUMPS)})")


def read_library(path):
    """A static library libattention_<isa>.a, disassembled; raises OSError, NoTool."""
    with open(path, "rb"):    # a file that is missing is no want of a tool
        pass
    done = subprocess.run([tool_for(path), "-dw", path], capture_output=True, text=True, check=True)
    isa = re.sub(r"^lib[a-z]+_|\.a$", "", os.path.basename(path))
    return read_text(isa, done.stdout)


def read_text(isa, text):
    """The library in the text of `objdump -dw`."""
    machine = "aarch64" if "littleaarch64" in text else "x86_64"
    functions, word = [], ""
    for line in text.splitlines():
        if match := re.match(r"(\S+):\s+file format ", line):
            word = re.sub(r"^[^_]*_|\.c\.o$", "", os.path.basename(match[1]))
        elif match := re.match(r"[0-9a-f]+ <(.*)>:$", line):
            functions.append(Function(word, match[1], []))
        elif functions and (instruction := read_instruction(line, functions[-1].name)):
            functions[-1].instructions.append(instruction)
    return Library(isa, machine, functions)


JUMPS = re.compile(r"j|b$|b\.|cbn?z$|tbn?z$")
PADDING = re.compile(r"nop|data16|cs$|xchg$|int3")
ENDS = re.compile(r"(jmp|b|br|ret|retq|ud2|udf|hlt)$")    # what follows is reached from elsewhere


def read_instruction(line, function):
    """One line `address: bytes, mnemonic, operands`; None if it is something else."""
    match = re.match(r" *([0-9a-f]+):\t([0-9a-f ]+?) *\t(\S+)\s*(.*)", line)
    if not match:
        return None
    address, code, name, operands = match.groups()
    operands = re.sub(r"\s*(//|#\s).*", "", operands)            # objdump's remarks
    branch = re.search(rf"(?:^|[ ,])([0-9a-f]+) <{re.escape(function)}(\+0x[0-9a-f]+)?>$", operands)
    operands = re.sub(r"\s*<[^>]*>", "", operands)
    target = int(branch[1], 16) if branch and JUMPS.match(name) else None
    return Instruction(int(address, 16), code, name, operands, target)


# ---- loops -----------------------------------------------------------------------------------

def blocks_of(function):
    """Basic blocks as lists of instructions, and for each the numbers of those that follow it."""
    code = function.instructions
    heads = {i.target for i in code} | {after.address for i, after in zip(code, code[1:])
                                        if i.target is not None or ENDS.match(i.name)}
    blocks = []
    for i in code:
        if not blocks or i.address in heads:
            blocks.append([])
        blocks[-1].append(i)
    number = {block[0].address: n for n, block in enumerate(blocks)}
    follow = []
    for n, block in enumerate(blocks):
        last = block[-1]
        padding = (n > 0 and ENDS.match(blocks[n - 1][-1].name)    # never reached
                   and all(PADDING.match(i.name) for i in block))
        falls = n + 1 < len(blocks) and not (ENDS.match(last.name) or padding)
        follow.append([n + 1] if falls else [])
        if last.target in number:
            follow[n].append(number[last.target])
    return blocks, follow


def dominators(follow):
    """For each block, as a bit set, the blocks on every path to it; and those just before it."""
    before = [[] for _ in follow]
    for m, targets in enumerate(follow):
        for n in targets:
            before[n].append(m)
    everything = (1 << len(follow)) - 1
    sets = [everything if before[n] and n else 1 << n for n in range(len(follow))]
    changed = True
    while changed:
        changed = False
        for n in range(1, len(follow)):
            common = everything
            for m in before[n]:
                common &= sets[m]
            new = common | 1 << n if before[n] else 1 << n
            changed, sets[n] = changed or new != sets[n], new
    return sets, before


def loops_of(function):
    """The innermost loops of a function, in order of their heads."""
    blocks, follow = blocks_of(function)
    sets, before = dominators(follow)
    loops = {}                                             # head -> blocks of the loop
    for n, targets in enumerate(follow):
        for head in targets:
            if not sets[n] >> head & 1:
                continue
            body, open_blocks = loops.setdefault(head, {head}), [n]
            while open_blocks:
                block = open_blocks.pop()
                if block not in body:
                    body.add(block)
                    open_blocks += before[block]
    for head, body in sorted(loops.items()):
        if not any(other in body for other in loops if other != head):
            yield Loop(function, [i for n in sorted(body) for i in blocks[n]])


def hot_loops(library):
    """The innermost loops whose work is to multiply and add."""
    loops = [loop for function in library.functions for loop in loops_of(function)
             if multiply_adds(loop.body) >= HOT]
    return [loop for loop in loops if tally(loop, library.machine).share >= HOT_SHARE]


def names_kernel(pattern, word):
    """Does KERNEL or KERNEL/FUNCTION speak of this kernel?"""
    kernel, _, name = pattern.partition("/")
    return fnmatch(word, kernel) and bool(name or word not in PLAIN)


def is_named(function, patterns):
    """Does one of these KERNEL or KERNEL/FUNCTION name this function?"""
    return any(names_kernel(pattern, function.word)
               and fnmatch(function.name, pattern.partition("/")[2] or "*") for pattern in patterns)


FUSED = re.compile(r"vfn?m(add|sub)|fn?m(la|ls|ad|sb|add|sub)$")
MULTIPLY = re.compile(r"v?mul[ps][sd]$|fmul$")
ADD = re.compile(r"v?(add|sub)[ps][sd]$|f(add|sub)$")


def multiply_adds(body):
    """Fused multiply-adds, and pairs of a multiplication and an addition."""
    fused = sum(bool(FUSED.match(i.name)) for i in body)
    return fused + min(sum(bool(MULTIPLY.match(i.name)) for i in body),
                       sum(bool(ADD.match(i.name)) for i in body))


VECTOR = {"x86_64": re.compile(r"%[xyz]mm\d"), "aarch64": re.compile(r"\b[vqzsdhb]\d+\b")}


def is_load(machine, i):
    """Does this instruction read memory into a vector register?"""
    if not VECTOR[machine].search(i.operands):
        return False
    if machine == "aarch64":
        return i.name.startswith("ld")
    return "(" in i.operands and not re.search(r"\)(\{[^}]*\})?$", i.operands)


def is_write(machine, i):
    """Does this instruction, which names the stack, write to it or take its address?"""
    if machine == "aarch64":
        return not i.name.startswith("ld") or "]!" in i.operands
    compares = re.match(r"v?u?comis|cmp|test|ptest", i.name)
    return i.name == "lea" or bool(re.search(r"\)(\{[^}]*\})?$|%rsp$", i.operands) and not compares)


SLOT = re.compile(r"-?(?:0x)?[0-9a-f]*\(%[^)]*\)|\[.*\]")


def stack_references(loop, machine):
    """The loop's instructions that name the stack: at constant offsets, with an index register."""
    code = loop.function.instructions
    if machine == "x86_64":
        framed = any(i.name == "mov" and i.operands == "%rsp,%rbp" for i in code)
        base, index = ("%r[sb]p" if framed else "%rsp"), r"\({},%\w+"
    else:
        framed = any(re.match(r"x29, sp(, |$)", i.operands) for i in code)
        base, index = (r"\b(?:sp|x29)\b" if framed else r"\bsp\b"), r"\[{}, [xw]\d"
    touching = [i for i in loop.body if re.search(base, i.operands)]
    arrays = [i for i in touching if re.search(index.format(base), i.operands)]
    return [i for i in touching if i not in arrays], arrays


def read_and_written(machine, references):
    """Those that write, and those that read what others write; and the rest."""
    written = {slot for i in references if is_write(machine, i)
               for slot in SLOT.findall(i.operands)}
    both = [i for i in references
            if is_write(machine, i) or written.intersection(SLOT.findall(i.operands))]
    return both, [i for i in references if i not in both]


def stack_use(loop, machine):
    """The loop's references to the stack at constant offsets: spills, reloads."""
    return read_and_written(machine, stack_references(loop, machine)[0])


def sums_in_memory(function, machine):
    """Of each innermost loop that multiplies and adds into an array on the stack, a read of it."""
    found = []
    for loop in loops_of(function):
        both, _ = read_and_written(machine, stack_references(loop, machine)[1])
        reads = [i for i in both if not is_write(machine, i)]
        if reads and multiply_adds(loop.body):
            found.append(reads[0])
    return found


def tally(loop, machine):
    """What the loop's instructions are; share: multiply-adds among vector instructions."""
    body = loop.body
    fma, vector = multiply_adds(body), [i for i in body if VECTOR[machine].search(i.operands)]
    fused = sum(bool(FUSED.match(i.name)) for i in body)
    return Tally(fma, len(vector), (fused + 2 * (fma - fused)) / max(len(vector), 1),
                 sum(is_load(machine, i) for i in body), *stack_use(loop, machine),
                 [i for i in body if i.name in ("call", "bl", "blr")])


# ---- instructions of a wider ISA -------------------------------------------------------------

PREFIXES = {"66", "67", "2e", "36", "3e", "26", "64", "65", "f2", "f3", "f0"}
AFTER_SSE2 = re.compile(r"(haddp|hsubp|addsubp)[sd]|mov(d|sl|sh)dup|lddqu|popcnt|lzcnt")
AFTER_AVX512DQ = re.compile(  # what the row's -mavx512f, vl, bw and dq do not bring
    r"vp(dp|madd52|multishift|opcnt|conflict|lzcnt|shld|shrd|shufbitqmb|clmul|(compress|expand)[bw]"
    r"|erm[it]2b|ermb)|v(aes|gf2p8|4f|p4dp|dpbf|cvtne|rcp28|rsqrt28|exp2)|v(?!cvtps2ph).*(ph|sh)$"
    r"|t(ile|dp)")
OPMASK = re.compile(r"%k[0-7]|\{")
ARM_EXTENSION = re.compile(  # Armv8.1 to 8.6 and the crypto words, none of them in the base line
    r"(ld|st)(add|clr|eor|set|[su]max|[su]min)|cas|swp|sqrdml[as]h|[su]dot|usdot|[su]mmla|fcmla"
    r"|bf(dot|ml|mmla|cvt)|fmlal|fmlsl|fcadd|fjcvtzs|frint(32|64)|aes|sha[1-9]|crc32|eor3|bcax"
    r"|rax1|xar")


def opcode(code):
    """The bytes of an x86 instruction from its first one that is no legacy or REX prefix."""
    words = code.split()
    while words and (words[0] in PREFIXES or "40" <= words[0] <= "4f"):
        words = words[1:]
    return words


def x86_width(i):
    """Rank of the narrowest ISA that has this instruction: 0 SSE2, 1 AVX2, 2 AVX-512, 3 more."""
    words = opcode(i.code)
    if i.name == "(bad)" or not words:
        return 3
    if words[0] == "62" or (words[0] in ("c4", "c5") and OPMASK.search(i.operands)):
        return 3 if AFTER_AVX512DQ.match(i.name) else 2
    if words[0] in ("c4", "c5"):
        return 3 if AFTER_AVX512DQ.match(i.name) else 1
    if words[0] == "0f" and words[1:2] in (["38"], ["3a"]) or AFTER_SSE2.match(i.name):
        return 1
    return 0


def arm_width(i):
    """Rank of the narrowest ISA that has this instruction: 0 Armv8.0, 1 SVE, 3 more."""
    word = int(i.code, 16)
    if word >> 25 & 15 == 2:
        return 1
    return 3 if word >> 25 & 15 == 0 and word >> 31 or ARM_EXTENSION.match(i.name) else 0


WIDTH = {"x86_64": x86_width, "aarch64": arm_width}
ALLOWED = {"scalar": 0, "auto": 0, "avx2": 1, "avx512": 2, "neon": 0,
           "sve128": 1, "sve256": 1, "sve512": 1, "sve1024": 1, "sve2048": 1}


def leaks(library):
    """(function, instruction) of everything that the library's ISA does not have."""
    width, allowed = WIDTH[library.machine], ALLOWED[library.isa]
    return [(function, i) for function in library.functions for i in function.instructions
            if width(i) > allowed]
