"""Addresses: only strict forms are accepted."""

from __future__ import annotations

import ipaddress
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from Pyro5.core import URI

from seppo.errors import ProtocolError
from seppo.wire.address import Address

names = st.from_regex(r"[A-Za-z0-9_.\-]{1,50}", fullmatch=True)
hosts = st.ip_addresses().map(lambda ip: str(getattr(ip, "ipv4_mapped", None) or ip))
ports = st.integers(1, 65535)


@given(names, hosts, ports)
def test_an_address_comes_back_from_its_text(name, host, port):
    address = Address(name, host, port)
    assert Address.parse(str(address)) == address


@given(names, hosts, ports)
def test_pyro_reads_the_same_from_it(name, host, port):
    uri = URI(str(Address(name, host, port)))
    assert (uri.object, uri.host.strip("[]"), uri.port) == (name, host, port)
    assert uri.protocol == "PYRO"
    assert uri.sockname is None


@pytest.mark.parametrize("folder", ["/run/user/1000/seppo", "/home/häns/.cache/a+b@c~d"])
def test_the_path_of_a_socket_comes_back_from_its_text(folder):
    address = Address("seppo.worker", f"./u:{folder}/seppo-0123456789ab")
    assert Address.parse(str(address)) == address
    uri = URI(str(address))
    assert (uri.object, uri.sockname) == ("seppo.worker", address.path)


@pytest.mark.parametrize(
    ("spelling", "host"),
    [
        ("[::ffff:10.0.0.1]", "10.0.0.1"),
        ("[::FFFF:a00:1]", "10.0.0.1"),
        ("[0:0::1]", "::1"),
        ("[FE80::0A]", "fe80::a"),
    ],
)
def test_an_address_has_one_spelling(spelling, host):
    assert Address.parse(f"PYRO:x@{spelling}:0080") == Address("x", host, 80)


STRICT = re.compile(r"PYRO:[\w.\-]+@([\w.\-]+|\[[0-9A-Fa-f:.]+\]):[0-9]{1,5}", re.ASCII)


@given(
    st.one_of(
        st.text(),
        st.text(alphabet="PYROMETANLCpyro:@./u[]0123456789 \n\tä٣-_").map("PYRO:x@".__add__),
        st.builds("PYRO:{}@{}:{}".format, st.text(), st.text(), st.integers()),
    )
)
def test_what_is_accepted_is_of_the_strict_form(text):
    try:
        address = Address.parse(text)
    except ProtocolError:
        return
    assert STRICT.fullmatch(text)
    ipaddress.ip_address(address.host)
    assert 0 < address.port < 65536


@pytest.mark.parametrize(
    "uri",
    [
        "PYRO:seppo.worker@host:80",
        "PYRO:seppo.worker@999.1.1.1:80",
        "",
        "PYRONAME:seppo.worker",
        "PYRONAME:seppo.worker@10.0.0.1:9090",
        "PYROMETA:seppo",
        "PYRO:seppo.worker@./u:/tmp/sock",
        "PYRO:seppo.worker@./u:/run/user/1000/bus",
        "PYRO:seppo.worker@./u:seppo-0123456789ab",
        "PYRO:seppo.worker@./u:/seppo-0123456789ab",
        "PYRO:seppo.worker@./u:/run/seppo-0123456789ab:0",
        "PYRO:seppo.worker@./u:/run/seppo-0123456789ab\n",
        "PYRO:seppo.worker@./u:/run/../run/seppo-0123456789ab",
        "PYRO:seppo.worker@./u:/run/./seppo-0123456789ab",
        "PYRO:seppo.worker@./u://run/seppo-0123456789ab",
        "PYRO:seppo.worker@./u:/run//seppo-0123456789ab",
        "PYRO:seppo.worker@./u:/run/; curl x | sh/seppo-0123456789ab",
        "PYRO:seppo.worker@./u:/run/\0/seppo-0123456789ab",
        f"PYRO:seppo.worker@./u:/{'r' * 85}/seppo-0123456789ab",
        "PYRO:seppo.worker@10.0.0.1",
        "PYRO:seppo.worker@10.0.0.1:0",
        "PYRO:seppo.worker@10.0.0.1:65536",
        "PYRO:seppo.worker@10.0.0.1:99999999",
        "PYRO:seppo.worker@10.0.0.1:-1",
        "PYRO:seppo.worker@10.0.0.1:80\n",
        " PYRO:seppo.worker@10.0.0.1:80",
        "PYRO:seppo.worker@[::1]extra:80",
        "PYRO:seppo worker@10.0.0.1:80",
        "PYRO:@10.0.0.1:80",
        "PYRO:a@b@10.0.0.1:80",
        "PYRO:a@user:secret@10.0.0.1:80",
        "pyro:a@10.0.0.1:80",
        "PYRO:a@h\u00f6st:80",
        "PYRO:a@10.0.0.1:\u0663",
        f"PYRO:{'a' * 201}@10.0.0.1:80",
        f"PYRO:a@{'h' * 254}:80",
    ],
)
def test_other_forms_are_refused(uri):
    with pytest.raises(ProtocolError):
        Address.parse(uri)


def test_long_junk_is_shown_cut():
    with pytest.raises(ProtocolError) as caught:
        Address.parse("x" * 10_000)
    assert len(str(caught.value)) < 200


def test_an_address_can_be_a_key():
    assert {Address("a", "10.0.0.1", 1): 2}[Address.parse("PYRO:a@10.0.0.1:1")] == 2
