"""Drives a server's gRPC as a program in another language would: the clients are
generated from the checked-in descriptions, nothing of reelmill's code is used.

usage: judge_grpc.py HOST:PORT PROTO_FOLDER VIDEO
"""

import hashlib
import os
import sys
import tempfile
import time

import grpc
from grpc_tools import protoc

server, protos, video = sys.argv[1:4]
out = tempfile.mkdtemp()
for name in ("replication/replication.proto", "reelmill/v1/transfer.proto"):
    done = protoc.main(["protoc", f"-I{protos}", f"--python_out={out}", f"--grpc_python_out={out}", name])
    assert done == 0, name
sys.path.insert(0, out)
from reelmill.v1 import transfer_pb2 as tp, transfer_pb2_grpc  # noqa: E402
from replication import replication_pb2 as rp, replication_pb2_grpc  # noqa: E402

data = open(video, "rb").read()
name = os.path.basename(video)
# The limit that the old clients set.
limits = [("grpc.max_receive_message_length", (1 << 20) + 1024)]
channel = grpc.insecure_channel(server, options=limits)
master = replication_pb2_grpc.MasterServiceStub(channel)
node = replication_pb2_grpc.NodeServiceStub(channel)
transfer = transfer_pb2_grpc.TransferServiceStub(channel)


def pieces(video_id, **wishes):
    size = 100_000
    for at in range(0, len(data), size):
        more = {"is_first_chunk": True, **wishes} if at == 0 else {}
        yield rp.UploadVideoChunk(video_id=video_id, data_chunk=data[at : at + size], **more)


def status(video_id):
    return master.GetVideoStatus(rp.VideoStatusRequest(video_id=video_id)).status


assert status("nobody") == "not_found"
first = master.UploadVideo(pieces(name, target_width=160, target_height=90, output_format="mkv"))
assert first.success and first.video_id == name, first
second = master.UploadVideo(pieces(name, output_format="mp4", original_filename="x.mkv"))
assert second.success and second.video_id != name, "two of one name do not overwrite each other"
deadline = time.monotonic() + 120
for video_id in (first.video_id, second.video_id):
    while status(video_id) == "processing":
        assert time.monotonic() < deadline, "it never ended"
        time.sleep(0.1)
    assert status(video_id) == "completed", master.GetVideoStatus(rp.VideoStatusRequest(video_id=video_id))
    got = b"".join(m.data_chunk for m in master.RetrieveVideo(rp.RetrieveVideoRequest(video_id=video_id)))
    assert len(got) > 1000
assert got[4:8] == b"ftyp", "the second was asked for as mp4"
try:
    list(master.RetrieveVideo(rp.RetrieveVideoRequest(video_id="nobody")))
    raise SystemExit("what is not there was sent")
except grpc.RpcError as error:
    assert error.code() == grpc.StatusCode.NOT_FOUND, error
try:
    master.UploadVideo(pieces("bad", output_format="avi"))
    raise SystemExit("a format that is not offered was taken")
except grpc.RpcError as error:
    assert error.code() == grpc.StatusCode.INVALID_ARGUMENT, error

stats = node.GetNodeStats(rp.NodeStatsRequest())
assert stats.is_master and stats.node_id and stats.disk_space_free_shards > 0, stats
assert 0 <= stats.memory_utilization <= 100 and not stats.election_in_progress
assert node.GetCurrentMaster(rp.GetCurrentMasterRequest()).master_address == server

# reelmill.v1: an upload that is cut and goes on where the server says.
def begin_and(half):
    yield tp.UploadRequest(begin=tp.UploadBegin(length=len(data), file_name=name))
    yield tp.UploadRequest(data=half)


half = len(data) // 2
answers = list(transfer.Upload(begin_and(data[:half])))
assert answers[0].offset == 0 and answers[-1].offset == half and not answers[-1].sha512, answers
upload = answers[0].upload_id


def go_on(at):
    yield tp.UploadRequest(begin=tp.UploadBegin(upload_id=upload))
    yield tp.UploadRequest(data=data[at:])


answers = list(transfer.Upload(go_on(half)))
assert answers[0].offset == half, "the server says where to go on"
assert answers[-1].sha512 == hashlib.sha512(data).hexdigest()

# The first video's job, by its label, over HTTP; then its output from an offset.
import json  # noqa: E402
import urllib.request  # noqa: E402

opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
page = json.load(opener.open(f"http://{server}/api/v1/jobs?label=video_id={name}"))
job = page["items"][0]
whole = list(transfer.Download(tp.DownloadRequest(job_id=job["id"])))
everything = b"".join(message.data for message in whole)
assert hashlib.sha512(everything).hexdigest() == whole[0].sha512 == job["output"]["sha512"]
tail = b"".join(m.data for m in transfer.Download(tp.DownloadRequest(job_id=job["id"], offset=1000)))
assert tail == everything[1000:]
seen = list(transfer.Watch(tp.WatchRequest(job_id=job["id"])))
assert seen[-1].state == "completed", seen
print("fine")
