"""Who holds whom, and who only knows whom."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

GRAPHS = (
    Mutant(
        name="cycles-go-unnoticed",
        promise="`EntityDependencyGraph` finds every cycle, and nothing else",
        file="minference/ecs/graph.py",
        old="lowest[id(entity)] = min(lowest[id(entity)], number[id(child)])",
        new="pass",
        tests=("tests/ecs/test_graph.py::test_cycles_order_and_dependents_agree_with_reachability",),
    ),
    Mutant(
        name="closed-cycles-are-joined",
        promise="Two cycles of which one holds the other are two",
        file="minference/ecs/graph.py",
        old="                if id(child) not in closed:\n                    lowest",
        new="                if True:\n                    lowest",
        tests=("tests/ecs/test_graph.py::test_cycles_order_and_dependents_agree_with_reachability",),
    ),
    Mutant(
        name="holders-come-first-in-the-order",
        promise="In topological order children come before whoever holds them",
        file="minference/ecs/graph.py",
        old="        return [entity for component in self._strong_components() for entity in component]",
        new="        return [entity for component in reversed(self._strong_components()) for entity in component]",
        tests=("tests/ecs/test_graph.py::test_children_come_before_their_holders",),
    ),
    Mutant(
        name="roots-are-what-was-given",
        promise="Roots are the entities that nothing else holds",
        file="minference/ecs/graph.py",
        old="            if all(id(holder) in inside for entity in component for holder in self._holders[id(entity)]):",
        new="            if given & inside:",
        tests=("tests/ecs/test_graph.py::test_roots_are_what_nothing_else_holds",),
    ),
    Mutant(
        name="only-parents-depend",
        promise="Dependents are all ancestors, not only the direct holders",
        file="minference/ecs/graph.py",
        old="                        following.append(linked)\n",
        new="",
        tests=("tests/ecs/test_graph.py::test_dependents_are_all_ancestors_nearest_first",),
    ),
    Mutant(
        name="properties-are-evaluated",
        promise="Looking for entities never evaluates a property",
        file="minference/ecs/plan.py",
        old="        data = entity.__dict__\n        found =",
        new="        for name, value in vars(type(entity)).items():\n"
        "            _ = getattr(entity, name) if isinstance(value, property) else None\n"
        "        data = entity.__dict__\n        found =",
        tests=("tests/ecs/test_graph.py::test_every_reachable_entity_is_a_node_once_and_every_holding_an_edge_once",),
    ),
    Mutant(
        name="back-references-are-strong",
        promise="A back-reference is weak: appending to a thread whose messages know it makes two versions",
        marks=("I11", "P16"),
        file="minference/ecs/plan.py",
        old="        if inverse := next((mark for mark in field.metadata if isinstance(mark, BackRef)), None):",
        new="        if inverse := None:",
        tests=("tests/storage/test_back_references.py::test_appending_makes_two_versions_however_long_the_talk[memory]",),
    ),
    Mutant(
        name="back-references-are-followed",
        promise="A message saved alone does not save its thread",
        marks=("I4",),
        file="minference/ecs/plan.py",
        old="found = [child for name in self.references if (child := data[name]) is not None]",
        new="found = [child for name in (*self.references, *dict(self.back_references)) if (child := data[name]) is not None]",
        tests=("tests/storage/test_back_references.py::test_a_message_saved_alone_does_not_save_its_thread[memory]",),
    ),
    Mutant(
        name="back-references-stay-empty",
        promise="A back-reference is filled when its holder is loaded",
        file="minference/storage/building.py",
        old="        if members:\n            _answer(entity, field.name, members)\n",
        new="",
        tests=("tests/storage/test_back_references.py::test_loaded_objects_have_it_filled[memory]",),
    ),
    Mutant(
        name="anybody-fills-a-back-reference",
        promise="Only a holder of the declared class fills a back-reference",
        file="minference/storage/building.py",
        old="            if inverse == field and isinstance(owner, plan_of(cls).types[name]):",
        new="            if inverse == field:",
        tests=("tests/storage/test_back_references.py::test_only_a_holder_of_the_declared_class_fills_it[memory]",),
    ),
    Mutant(
        name="nested-collections-are-accepted",
        promise="A field that nests entities where versions cannot be tracked is refused when the class is defined",
        file="minference/ecs/plan.py",
        old='    raise UnsupportedField(owner, name, annotation, "nests entities where their versions cannot be tracked")',
        new='    return "value"',
        tests=("tests/ecs/test_entity.py::test_a_field_whose_entities_could_not_be_versioned_is_refused",),
    ),
    Mutant(
        name="a-dumped-field-may-be-left-out",
        promise="A field that dumps leave out is refused when the class is defined: its value would be lost",
        file="minference/ecs/plan.py",
        old="        if field.exclude:",
        new="        if False:",
        tests=("tests/ecs/test_entity.py::test_a_field_that_dumps_leave_out_is_refused",),
    ),
)
