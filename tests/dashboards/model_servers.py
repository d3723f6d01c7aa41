"""Servers of language models that only count: one of each kind, with the names that each is known to export.

vLLM and SGLang count tokens with a model's name, TGI in histograms without any, Triton by its own words, and
llama.cpp by hand. What they say grows with the time, so that a second scrape says more than the first.
"""

import http.server
import threading
import time

STARTED = time.time() - 60

# The counter's name and labels, and how much it grows in a second.
SERVERS = {
    "vllm": [
        ("vllm:prompt_tokens_total", 'model_name="mistralai/Mistral-7B",engine="0"', 900),
        ("vllm:generation_tokens_total", 'model_name="mistralai/Mistral-7B",engine="0"', 420),
        ("vllm:prefix_cache_hits_total", 'model_name="mistralai/Mistral-7B",engine="0"', 300),
        ("vllm:prefix_cache_queries_total", 'model_name="mistralai/Mistral-7B",engine="0"', 900),
        ("vllm:request_success_total", 'model_name="mistralai/Mistral-7B",engine="0",finished_reason="stop"', 2.5),
        ("vllm:request_success_total", 'model_name="mistralai/Mistral-7B",engine="0",finished_reason="length"', 0.5),
    ],
    "sglang": [
        ("sglang:prompt_tokens_total", 'model_name="llama-2-7b"', 500),
        ("sglang:generation_tokens_total", 'model_name="llama-2-7b"', 250),
        ("sglang:cached_tokens_total", 'model_name="llama-2-7b"', 100),
        ("sglang:num_requests_total", 'model_name="llama-2-7b"', 1.5),
    ],
    "tgi": [
        ("tgi_request_input_length_sum", "", 200),
        ("tgi_request_input_length_count", "", 1),
        ("tgi_request_generated_tokens_sum", "", 120),
        ("tgi_request_generated_tokens_count", "", 1),
        ("tgi_request_count", "", 1),
        ("tgi_request_success", "", 1),
    ],
    "triton": [
        ("nv_inference_request_success", 'model="bge-reranker",version="1"', 4),
        ("nv_inference_request_failure", 'model="bge-reranker",version="1"', 0.1),
        ("nv_inference_count", 'model="bge-reranker",version="1"', 8),
        ("nv_llm_input_token_len_sum", 'model="bge-reranker",version="1",response_metric_type="total_input_tokens"', 90),
        ("nv_llm_output_token_len_sum", 'model="bge-reranker",version="1",response_metric_type="total_output_tokens"', 40),
    ],
    "llamacpp": [
        ("llamacpp:prompt_tokens_total", "", 80),
        ("llamacpp:tokens_predicted_total", "", 35),
        ("llamacpp:n_decode_total", "", 35),
    ],
}
GAUGES = {
    "vllm": [("vllm:num_requests_waiting", 'model_name="mistralai/Mistral-7B",engine="0"', 3),
             ("vllm:num_requests_running", 'model_name="mistralai/Mistral-7B",engine="0"', 12)],
}


def exposition(server, now):
    lines = []
    for kind, samples in (("counter", SERVERS[server]), ("gauge", GAUGES.get(server, []))):
        for name, labels, number in samples:
            value = number * (now - STARTED) if kind == "counter" else number
            if not any(line.startswith(f"# TYPE {name} ") for line in lines):
                lines.append(f"# TYPE {name} {kind}")
            lines.append(f"{name}{{{labels}}} {value}")
    return "\n".join(lines) + "\n"


class Servers:
    """All of them on one port, each under its name; `/seldom` is a file of what the demo seldom shows."""

    def __init__(self, seldom):
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                name = self.path.strip("/")
                text = seldom if name == "seldom" else exposition(name, time.time())
                self.send_response(200)
                self.send_header("Content-Type", "text/plain; version=0.0.4")
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
