"""Which functions of the product refer to which others, read from its source: an over-cautious call
graph.

A node is "module:function", "module:Class.method", "module:NAME" for what is assigned at the top of
a module, and "module:" for whatever else stands there. Referring counts as calling, since functions
are passed as callbacks.
"""

import ast
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path

Graph = dict[str, set[str]]


def read_sources(root: Path, *folders: str) -> dict[str, str]:
    """Source text by module name, of every module in these folders."""
    found = {}
    for folder in folders:
        for path in sorted((root / folder).rglob("*.py")):
            name = ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")
            found[name] = path.read_text(encoding="utf-8")
    return found


def build_graph(
    sources: Mapping[str, str], commands: Mapping[str, str], others: Collection[str] = ()
) -> Graph:
    """The graph of these modules. commands: nodes by the name of the command they run.
    others: known modules.

    A list such as [sys.executable, "-m", "core", …, "costs"], and the words given to `run_command`,
    refer to a command.
    """
    graph: Graph = {}
    for module, text in sources.items():
        graph |= _Module(module, ast.parse(text), {*sources, *others}, commands).graph()
    return graph


def reachable(graph: Graph, start: Iterable[str]) -> set[str]:
    """All that the nodes of `start` refer to, directly or not, themselves among them."""
    seen: set[str] = set()
    waiting = [*start]
    while waiting:
        node = waiting.pop()
        if node not in seen:
            seen.add(node)
            waiting += graph.get(node, ())
    return seen


def reaching(graph: Graph, goals: set[str]) -> set[str]:
    """All nodes that refer to one of `goals`, directly or not, the goals among them."""
    backwards: Graph = {}
    for node, others in graph.items():
        for other in others:
            backwards.setdefault(other, set()).add(node)
    return reachable(backwards, goals)


class _Module:
    """One module: what its names stand for, and what each of its parts refers to."""

    def __init__(
        self, name: str, tree: ast.Module, sources: Collection[str], commands: Mapping[str, str]
    ) -> None:
        self.name, self.tree, self.sources, self.commands = name, tree, sources, commands
        self.modules: dict[str, str] = {}
        self.names: dict[str, str] = {}
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                for one in node.names:
                    self.modules[one.asname or one.name] = one.name
            elif isinstance(node, ast.ImportFrom) and node.module:
                for one in node.names:
                    whole = f"{node.module}.{one.name}"
                    if whole in sources or node.module not in sources:
                        self.modules[one.asname or one.name] = whole
                    else:
                        self.names[one.asname or one.name] = f"{node.module}:{one.name}"
        for statement in tree.body:
            for defined in _defined(statement):
                self.names[defined] = f"{name}:{defined}"
        self.types = self._types(tree.body)

    def graph(self) -> Graph:
        graph: Graph = {}
        for statement in self.tree.body:
            if isinstance(statement, ast.ClassDef):
                for part in statement.body:
                    place = f".{part.name}" if isinstance(part, ast.FunctionDef) else ""
                    graph.setdefault(f"{self.name}:{statement.name}{place}", set()).update(
                        self._references(part, {"self": f"{self.name}:{statement.name}"})
                    )
                graph.setdefault(f"{self.name}:{statement.name}", set()).add(
                    f"{self.name}:{statement.name}.__init__"
                )
            else:
                for place in [*_defined(statement)] or [""]:
                    graph.setdefault(f"{self.name}:{place}", set()).update(
                        self._references(statement, {})
                    )
        return graph

    def _references(self, root: ast.AST, own: dict[str, str]) -> set[str]:
        found: set[str] = set()
        types = {**self.types, **self._types([root]), **own}
        for node in ast.walk(root):
            if (
                isinstance(node, ast.Name)
                and isinstance(node.ctx, ast.Load)
                and node.id in self.names
            ):
                found.add(self.names[node.id])
            elif isinstance(node, ast.Attribute):
                found |= self._attribute(node, types)
            elif isinstance(node, ast.Call | ast.List):
                found |= self._command(node)
        return found

    def _attribute(self, node: ast.Attribute, types: Mapping[str, str]) -> set[str]:
        whole = ast.unparse(node.value)
        if whole in self.modules:
            return {f"{self.modules[whole]}:{node.attr}"}
        if isinstance(node.value, ast.Name) and node.value.id in types:
            return {f"{types[node.value.id]}.{node.attr}"}
        if isinstance(node.value, ast.Call) and (made := self._class_of(node.value.func)):
            return {f"{made}.{node.attr}"}
        return set()

    def _command(self, node: ast.Call | ast.List) -> set[str]:
        """Commands that are run: named first in the words given to `run_command`, or after "-m
        core" in a list."""
        if isinstance(node, ast.Call):
            if not ast.unparse(node.func).endswith("run_command"):
                return set()
            words = [
                _text(one.elts[0]) for one in node.args if isinstance(one, ast.List) and one.elts
            ]
        else:
            words = [_text(one) for one in node.elts]
            words = words if {"-m", "core"} <= set(words) else []
        return {self.commands[word] for word in words if word in self.commands}

    def _class_of(self, node: ast.expr) -> str | None:
        """The class that is called `node`, for one of ours."""
        name = self.names.get(node.id) if isinstance(node, ast.Name) else None
        return name if name and name.partition(":")[2][:1].isupper() else None

    def _types(self, roots: Iterable[ast.AST]) -> dict[str, str]:
        """Classes of variables: assigned from a call of the class, or parameters annotated with
        it."""
        found: dict[str, str] = {}
        for root in roots:
            for node in ast.walk(root):
                if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call):
                    if made := self._class_of(node.value.func):
                        found |= {one.id: made for one in node.targets if isinstance(one, ast.Name)}
                elif (
                    isinstance(node, ast.arg)
                    and node.annotation
                    and (made := self._class_of(node.annotation))
                ):
                    found[node.arg] = made
        return found


def _defined(statement: ast.stmt) -> Iterator[str]:
    """Names that a statement at the top of a module gives to functions, classes and values."""
    if isinstance(statement, ast.FunctionDef | ast.ClassDef):
        yield statement.name
    elif isinstance(statement, ast.Assign | ast.AnnAssign):
        targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        for target in targets:
            yield from (node.id for node in ast.walk(target) if isinstance(node, ast.Name))


def _text(node: ast.expr) -> str:
    """What a word stands for in the source; "" where it is computed."""
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""
