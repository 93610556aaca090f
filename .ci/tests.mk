# Which tests run where.
#
# ONCE: tests that the run on the Python core leaves out, because it would repeat the run on the compiled core: tests
# that run on both codecs each time, and tests of what has one source and comes before the first frame (routes, origins,
# handshake of servers and clients, options, extension headers), of clients, whose sessions are those of the server, and
# of what stands beside the package (documentation, demos, packaging, other libraries and servers, the suite itself). If
# there is no compiled core, the only run has everything.
ONCE := $(addprefix tests/, wire/test_codes.py wire/test_encoder.py wire/test_frames.py \
    wire/test_headers.py wire/test_limits.py wire/test_masking.py wire/test_parser.py wire/test_watcher.py \
    extensions/test_header.py extensions/test_negotiation.py web/test_routing.py web/test_origins.py \
    web/test_handshake.py web/test_options_named.py web/test_options_documented.py system/test_layering.py \
    system/test_security_page.py system/test_docs.py system/test_english.py system/test_demos.py \
    system/test_demos_rsv2_extension.py system/test_demos_gateway.py tools/test_clock.py tools/test_limits_of_tests.py \
    system/test_packaging.py web/test_option_types.py types/test_types.py neighbours \
    web/test_client_handshake.py web/test_client_life.py web/test_client_reconnecting.py web/test_client_ways.py \
    web/test_log_lines.py web/test_refused_origins.py web/test_transports.py web/test_upgrade.py system/test_faq.py \
    recording/test_onlooker.py recording/test_lines.py recording/test_har.py recording/test_command.py \
    proxy/test_target.py proxy/test_upgrade_handshake.py proxy/test_upgrade_refusals.py proxy/test_upgrade_ways.py \
    testing/test_agents.py testing/test_faults.py testing/test_fixtures.py testing/test_misbehaviours.py \
    testing/test_requests.py testing/test_scripted_client.py testing/test_scripted_server.py \
    testing/test_transcript.py testing/test_verdicts.py)
# SLICE: what runs on every Python: codecs, state machines, sessions, and where handlers run.
SLICE := tests/tools/test_clock.py tests/system/test_state_machines.py tests/extensions/test_deflate.py \
    tests/web/test_placement.py tests/web/test_unaware_handlers.py tests/web/test_takeover.py \
    $(wildcard tests/wire/test_*.py tests/session/test_*.py)
