"""A back-reference is a convenience: it is filled when its holder is loaded, and makes no version of anything."""

from __future__ import annotations

import copy
from typing import Annotated
from uuid import UUID

import pytest
from pydantic import Field, ValidationError

from minference.ecs.entity import Entity
from minference.ecs.graph import EntityDependencyGraph
from minference.ecs.plan import BackRef
from minference.storage.base import EntityStorage


class Post(Entity, kind="back_post"):
    text: str = ""
    talk: Annotated[Talk | None, BackRef("history")] = None


class Talk(Entity, kind="back_talk"):
    name: str = ""
    history: list[Post] = Field(default_factory=list)


class Archive(Entity, kind="back_archive"):
    history: list[Post] = Field(default_factory=list)


class Person(Entity, kind="back_person"):
    name: str = ""
    passport: Passport | None = None
    boss: Annotated[Person | None, BackRef("reports")] = None
    reports: dict[str, Person] = Field(default_factory=dict)


class Passport(Entity, kind="back_passport"):
    number: str = ""
    owner: Annotated[Person | None, BackRef("passport")] = None


def a_talk(*texts: str) -> Talk:
    talk = Talk(name="talk")
    for text in texts:
        post = Post(text=text)
        talk.history.append(post)
        post.talk = talk
    return talk


def ids(talk: Talk) -> list[UUID]:
    return [talk.ecs_id, *(post.ecs_id for post in talk.history)]


async def test_appending_makes_two_versions_however_long_the_talk(storage: EntityStorage) -> None:
    talk = await storage.register(a_talk("one", "two", "three"))
    commit = await storage.submit(talk)
    assert commit.versions == ()
    talk.history.append(Post(text="four", talk=talk))
    commit = await storage.submit(talk)
    assert commit.versions == (talk.history[-1].ecs_id, talk.ecs_id)


async def test_setting_or_clearing_a_back_reference_makes_no_version(storage: EntityStorage) -> None:
    talk = await storage.register(Talk(history=[Post(), Post()]))
    talk.history[0].talk = talk
    assert (await storage.submit(talk)).versions == ()
    talk.history[0].talk = None
    assert (await storage.submit(talk)).versions == ()
    talk.history[1].talk = Talk(name="never saved, because nothing strong refers to it")
    assert (await storage.submit(talk)).versions == ()


async def test_loaded_objects_have_it_filled(storage: EntityStorage) -> None:
    talk = await storage.register(Talk(history=[Post(text="one"), Post(text="two")]))
    loaded = await storage.get(Talk, talk.ecs_id)
    assert all(post.talk is loaded for post in loaded.history)
    assert (await storage.submit(loaded)).versions == ()
    cold = await storage.get_cold_snapshot(Talk, talk.ecs_id)
    assert all(post.talk is cold for post in cold.history)
    alone = await storage.get(Post, talk.history[0].ecs_id)
    assert alone.talk is None


async def test_only_a_holder_of_the_declared_class_fills_it(storage: EntityStorage) -> None:
    post = Post()
    archive = await storage.register(Archive(history=[post]))
    loaded = await storage.get(Archive, archive.ecs_id)
    assert loaded.history[0].talk is None


async def test_references_and_keyed_collections_are_answered_too(storage: EntityStorage) -> None:
    boss = Person(name="boss", passport=Passport(number="1"), reports={"ann": Person(name="ann", reports={"bob": Person(name="bob")})})
    await storage.register(boss)
    loaded = await storage.get(Person, boss.ecs_id)
    ann = loaded.reports["ann"]
    assert loaded.passport is not None
    assert (loaded.passport.owner, ann.boss, ann.reports["bob"].boss, loaded.boss) == (loaded, loaded, ann, None)


async def test_a_message_saved_alone_does_not_save_its_thread(storage: EntityStorage) -> None:
    talk = a_talk("one")
    await storage.register(talk.history[0])
    assert (await storage.lineage(talk.lineage_id), len(await storage.lineage(talk.history[0].lineage_id))) == ([], 1)


async def test_an_edit_through_it_is_saved_with_the_holder(storage: EntityStorage) -> None:
    talk = await storage.register(a_talk("one"))
    post = talk.history[0]
    assert post.talk is not None
    post.talk.name = "renamed"
    assert (await storage.submit(post)).versions == ()
    assert (await storage.submit(talk)).versions == (talk.ecs_id,)


def test_walks_do_not_follow_it() -> None:
    talk = a_talk("one", "two")
    assert talk.history[0].get_sub_entities() == []
    graph = EntityDependencyGraph(talk)
    assert (len(graph), graph.has_cycles()) == (3, False)


def test_a_deep_copy_of_the_holder_has_copies_that_refer_to_it() -> None:
    talk = a_talk("one", "two")
    copied = copy.deepcopy(talk)
    assert [post.talk is copied for post in copied.history] == [True, True]
    assert {post.lineage_id for post in copied.history}.isdisjoint(post.lineage_id for post in talk.history)
    assert [post.text for post in talk.model_copy(deep=True).history] == ["one", "two"]


def test_a_deep_copy_of_a_member_belongs_to_nobody() -> None:
    talk = a_talk("one", "two")
    assert copy.deepcopy(talk.history[0]).talk is None
    assert copy.copy(talk.history[0]).talk is talk


def test_deep_copies_of_strong_cycles_terminate() -> None:
    class Knot(Entity, kind="back_knot"):
        next: Knot | None = None
        others: list[Knot] = Field(default_factory=list)

    one, two = Knot(), Knot()
    one.next, two.next = two, one
    one.others = [one, two]
    copied = copy.deepcopy(one)
    assert copied.next is not None
    assert copied.next.next is copied
    assert copied.others[0] is copied
    assert copied is not one
    assert "..." in repr(one)
    assert "..." in str(one)


def test_repr_terminates_and_names_what_is_there() -> None:
    text = repr(a_talk("one", "two"))
    assert "text='one', talk=..." in text
    assert "text='two'" in text


def test_dumps_leave_it_out_and_read_back() -> None:
    talk = a_talk("one")
    dumped = talk.model_dump()
    assert dumped["history"][0]["talk"] is None
    assert Talk.model_validate(dumped).history[0].text == "one"
    assert Talk.model_validate_json(talk.model_dump_json()).history[0].text == "one"
    assert talk.history[0].model_dump()["talk"] is None


def test_objects_that_refer_to_each_other_are_valid() -> None:
    talk = a_talk("one", "two")
    again = Talk(history=talk.history)
    assert again.history[0].talk is talk
    talk.history = [*talk.history, Post(talk=talk)]
    assert talk.history[2].talk is talk
    assert Talk.model_validate(talk) is talk
    self_made = Person(name="self-made")
    self_made.boss = self_made
    assert self_made.boss is self_made


def test_something_of_another_class_is_refused_with_the_name_of_the_field() -> None:
    post = Post()
    with pytest.raises(ValidationError, match=r"talk\n.*instance of Talk"):
        post.talk = Archive()  # type: ignore[assignment]  # refused
    assert post.talk is None
    with pytest.raises(ValidationError, match="talk"):
        Post.model_validate({"talk": Archive()})
