import re

import pytest

from asynckaniko.dockerfile.run_mounts import (
    BindMount,
    CacheMount,
    RunMount,
    SecretMount,
    SshMount,
    TmpfsMount,
    mount_source,
    parse_mount,
)
from asynckaniko.errors import DockerfileError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("target=/a", BindMount(target="/a")),
        (
            "type=bind,dst=a,src=/b,from=c,rw",
            BindMount(target="a", source="/b", from_="c", readonly=False),
        ),
        ("destination=/a,rw=false", BindMount(target="/a")),
        ("target=/a,readonly=0", BindMount(target="/a", readonly=False)),
        ("target=/a,ro,rw", BindMount(target="/a", readonly=False)),
        ("TYPE=BIND,Target=/A", BindMount(target="/A")),
        ("source=x", BindMount(target="", source="x")),
        ('target=/a,"source=b,c"', BindMount(target="/a", source="b,c")),
        ('"target=/a ""b"""', BindMount(target='/a "b"')),
        ("type=cache,target=/c/", CacheMount(target="/c/", id="/c")),
        (
            "type=cache,id=x,target=c,sharing=Locked,mode=0700,uid=1,gid=2,ro,from=s,source=t",
            CacheMount(
                target="c",
                id="x",
                sharing="locked",
                mode=0o700,
                uid=1,
                gid=2,
                readonly=True,
                from_="s",
                source="t",
            ),
        ),
        ("target=/t,type=tmpfs", TmpfsMount(target="/t")),
        ("type=tmpfs,target=/t,size=1.5g", TmpfsMount(target="/t", size=3 << 29)),
        ("type=tmpfs,target=/t,size=64MiB", TmpfsMount(target="/t", size=64 << 20)),
        ("type=tmpfs,target=/t,size=10 kb", TmpfsMount(target="/t", size=10 << 10)),
        ("type=secret,id=a", SecretMount(id="a", target="/run/secrets/a")),
        ("type=secret,id=a/b", SecretMount(id="a/b", target="/run/secrets/b")),
        ("type=secret,target=/x/a", SecretMount(id="a", target="/x/a")),
        ("type=secret,source=a,env=B", SecretMount(id="a", env="B")),
        ("type=secret,id=a,env=B,target=/c", SecretMount(id="a", env="B", target="/c")),
        ("type=secret,id=a,env=", SecretMount(id="a", env="a")),
        (
            "required,type=secret,id=a,mode=4,uid=5,gid=6",
            SecretMount(id="a", target="/run/secrets/a", required=True, mode=4, uid=5, gid=6),
        ),
        ("type=secret,id=a,required=false", SecretMount(id="a", target="/run/secrets/a")),
        ("type=ssh", SshMount()),
        (
            "type=ssh,id=k,target=/s,required=true,mode=0666,uid=4294967295",
            SshMount(id="k", target="/s", required=True, mode=0o666, uid=4294967295),
        ),
    ],
)
def test_mount_is_typed_with_its_defaults(text: str, expected: RunMount) -> None:
    assert parse_mount(text) == expected


@pytest.mark.parametrize(
    ("text", "fragment"),
    [
        ("", "cannot be read"),
        ('target=/a"b', "cannot be read"),
        ('"target=/a', "cannot be read"),
        ('"target=/a"x', "cannot be read"),
        ("target", "invalid field 'target' must be a key=value pair"),
        ("taget=/a", "unexpected key 'taget' in 'taget=/a' (did you mean target?)"),
        ("target=/a,", "unexpected key ''"),
        ("type=cahce,target=/a", "unsupported mount type 'cahce' (did you mean cache?)"),
        ("type=cache,target=/a,sharing=lockd", "unsupported sharing value 'lockd' (did you mean"),
        ("target=/", "invalid mount target '/'"),
        ("target=/a/..", "invalid mount target"),
        ("target=/a,ro=maybe", "invalid value for ro: maybe"),
        ("target=/a,uid=1", "uid is not allowed for mount type 'bind'"),
        ("type=tmpfs,target=/a,mode=0700", "mode is not allowed for mount type 'tmpfs'"),
        ("target=/a,size=1m", "size is unexpected for mount type 'bind'"),
        ("type=cache,target=/a,required", "required is unexpected for mount type 'cache'"),
        ("type=secret,id=a,sharing=shared", "sharing is unexpected for mount type 'secret'"),
        ("type=tmpfs,target=/a,size=big", "invalid value for size: big"),
        ("type=cache,target=/a,mode=888", "invalid value 888 for mode"),
        ("type=cache,target=/a,uid=root", "invalid value root for uid"),
        ("type=cache,target=/a,gid=4294967296", "invalid value 4294967296 for gid"),
        ("type=secret", "one of id, target required"),
        ("type=secret,id=a,source=b", "both source and id can't be set"),
        ("type=secret,id=a,from=b", "should not have a from"),
        ("type=ssh,source=a", "ssh does not support source"),
    ],
)
def test_mount_that_makes_no_sense_is_an_error(text: str, fragment: str) -> None:
    with pytest.raises(DockerfileError, match=re.escape(fragment)):
        parse_mount(text)


def test_variables_are_expanded_field_by_field() -> None:
    values = {"$T": "cache", "$D": "/a,b", "$R": "1"}

    mount = parse_mount("type=$T,target=$D,ro=$R,from=x", lambda word: values.get(word, word))

    assert mount == CacheMount(target="/a,b", id="/a,b", readonly=True, from_="x")


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ("target=/a,from=b", "b"),
        ("target=$a", ""),
        ("type=$t,FROM=b$", "b$"),
        ("uid=$u,from=c", "c"),
    ],
)
def test_source_is_known_before_variables_are(text: str, source: str) -> None:
    assert mount_source(text) == source


def test_source_takes_no_variable() -> None:
    with pytest.raises(DockerfileError, match="doesn't support variable expansion"):
        mount_source("from=$base,target=/a")
