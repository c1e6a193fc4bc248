"""Celery's settings: plain assignments, one comment per reliability choice."""

from agora import transport
from agora.settings import get_settings

broker_url = transport.broker_url()
result_backend = None

# Results live in Postgres; a result backend would be a second truth.
task_ignore_result = True
task_store_errors_even_if_ignored = False

# Messages carry an id: JSON is enough, and nothing is unpickled.
task_serializer = "json"
accept_content = ["json"]

# A worker takes one message at a time and acknowledges it when its step has ended: a drained worker hoards nothing.
worker_prefetch_multiplier = 1
task_acks_late = True
# A killed child's message is not put back: its lease runs out in Postgres, where tries are counted.
task_reject_on_worker_lost = False
task_acks_on_failure = True
task_acks_on_timeout = True

broker_transport_options = transport.options_for(broker_url)
broker_heartbeat = transport.HEARTBEAT_SECONDS
broker_connection_timeout = 2
# Flower's inspecting threads each hold a connection while they wait for another: a small pool locks them up.
broker_pool_limit = 64
# Publishing never waits for a broker that is away: the dispatcher rings again.
task_publish_retry = False
# A worker waits for the broker for ever: its supervisor need not restart it over and over.
broker_connection_retry = True
broker_connection_retry_on_startup = True
broker_connection_max_retries = None
# Running steps go on while the broker is away; their leases are in Postgres.
worker_cancel_long_running_tasks_on_connection_loss = False

# Each step names its queue.
task_default_queue = "cpu"
task_create_missing_queues = True
# RabbitMQ keeps quorum queues on several nodes; other brokers know no kinds of queues.
task_default_queue_type = get_settings().broker_queues
task_create_missing_queue_type = get_settings().broker_queues

# SIGTERM: steps get this long to end, then the pool is ended and leases are given back.
worker_soft_shutdown_timeout = get_settings().drain_seconds
worker_enable_soft_shutdown_on_idle = False

# Flower turns task events on while it runs; without Flower nobody pays for them.
worker_send_task_events = False
task_send_sent_event = False
# An event queue whose reader has gone must not grow for ever.
event_queue_expires = 60
event_queue_ttl = 30

# Rates are limited in Postgres, for all workers together.
worker_disable_rate_limits = True

# A child that leaks is replaced; what it ran is not interrupted.
worker_max_tasks_per_child = 10_000
worker_max_memory_per_child = 1_000_000

# Logs are configured by the worker module, in one place.
worker_hijack_root_logger = False
worker_redirect_stdouts = False
