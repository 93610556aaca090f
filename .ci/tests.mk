# Which tests run where.
#
# ONCE: tests that the run on the Python core leaves out, because it would repeat the run on the compiled core: tests
# that run on both codecs each time, and tests of what has one source and comes before the first frame (routes, origins,
# handshake, options, extension headers) or stands beside the package (documentation, demos, packaging, the suite
# itself). If there is no compiled core, the only run has everything.
ONCE := $(addprefix tests/, test_wire_codes.py test_wire_encoder.py test_wire_frames.py test_wire_headers.py \
    test_wire_limits.py test_wire_masking.py test_wire_parser.py test_extensions_header.py \
    test_extensions_negotiation.py test_web_routing.py test_web_origins.py test_web_handshake.py \
    test_options_named.py test_options_documented.py test_layering.py test_security_page.py test_docs.py \
    test_demos.py test_demos_rsv2_extension.py test_clock.py test_limits_of_tests.py test_packaging.py)
# SLICE: what runs on every Python: codecs, state machines and sessions.
SLICE := tests/test_clock.py tests/test_codec_parity.py tests/test_state_machines.py tests/test_extensions_deflate.py \
    $(wildcard tests/test_wire_*.py tests/test_session_*.py)
