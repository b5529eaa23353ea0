# The local server as an image that holds nothing but its program. `make image` builds
# both, with bin/image as the context; docs/operations.md describes how to run it.
FROM scratch
COPY --chown=65532:65532 . /
USER 65532:65532
# In a container, the server must listen on all addresses. The option -p of `docker run`
# decides who reaches it.
ENV HOST=0.0.0.0 PORT=8080 DATA_DIR=/data
VOLUME /data
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=5s --start-period=5s CMD ["/syncplane", "healthcheck"]
ENTRYPOINT ["/syncplane"]
CMD ["serve"]
